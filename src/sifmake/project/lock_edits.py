"""What stands where a lock should be: a lock, or a file in which people or bots have edited what is to be built.

The digest in ``image`` is what people review and update bots write. Where the rest of a lock does not fit it, that
digest is what has to be locked, and never what its tag happens to mean now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.errors import BadReferenceError, LockError
from sifmake.files import read_regular
from sifmake.oci.digest import is_digest
from sifmake.project.lock_file import DisprovedLockError, read_lock
from sifmake.reference import parse_reference
from sifmake.reference.uri import REGISTRY_TRANSPORTS

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.limits import Limits
    from sifmake.project.locks import AnyLock
    from sifmake.reference import Uri

_IMAGE = re.compile(r"^image:[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)
_CONFLICT = re.compile(r"^(?:<{7}|>{7})(?: |\r?$)", re.MULTILINE)


@dataclass(frozen=True)
class FoundLock:
    """What was found.

    Attributes:
        lock: The lock, if it is whole.
        why: Why there is none.
        name: What the edited file calls the image; empty where it does not tell.
        digest: The digest that was written into the edited file and is to be locked; empty where there is none.
        disproved: The error of a lock that is whole and contradicts itself.
    """

    lock: AnyLock | None = None
    why: str = ""
    name: str = ""
    digest: str = ""
    disproved: DisprovedLockError | None = None

    def check_name(self, source: Uri, path: Path) -> None:
        """Compare what the file calls the image with what the configuration does.

        Raises:
            LockError: An edit names another image or tag, so that locking its digest would be undone the next time.
        """
        if not self.name or source.transport not in REGISTRY_TRANSPORTS:
            return
        wanted = source.reference.with_digest("").canonical
        if _canonical(self.name) != wanted:
            what = f"was edited to {self.name}, and config/images.yaml has {wanted}"
            hint = f"write the tag into config/images.yaml too, then run sifmake lock {path.stem}"
            raise LockError(what, where=str(path), hint=hint)


def find_lock(path: Path, limits: Limits) -> FoundLock:
    """Return the lock in a file, or what an edit of it wants.

    Raises:
        LockError: An edit leaves open what it wants: conflict markers, two images, a digest that is none.
    """
    try:
        return FoundLock(read_lock(path, limits))
    except LockError as error:
        return _read_edit(path, limits, error)


def _read_edit(path: Path, limits: Limits, error: LockError) -> FoundLock:
    try:
        text = read_regular(path, limits.yaml_bytes).decode("utf-8", "replace")
    except OSError:
        return FoundLock(why="there was no lock" if not path.exists() else error.what)
    images = set(_IMAGE.findall(text))
    if _CONFLICT.search(text) or len(images) > 1:
        raise error
    name, at, digest = next(iter(images), "").partition("@")
    if at and not is_digest(digest):
        hint = f"write the digest as it is upstream, or remove the file, then run sifmake lock {path.stem}"
        raise LockError(f"{digest[:80]!r} in 'image' is not a digest", where=str(path), hint=hint)
    disproved = error if isinstance(error, DisprovedLockError) else None
    return FoundLock(why=error.what, name=name, digest=digest, disproved=disproved)


def _canonical(name: str) -> str:
    try:
        return parse_reference(name).canonical
    except BadReferenceError:
        return name
