"""Read the file of a lock: it is a valid lock, or people or bots have edited it.

People review the digest in ``image``, and update bots write it. If the rest of a lock does not match it, that digest
must be locked, and never the one that the tag points to now.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.errors import BadReferenceError, LockError
from sifmake.files import read_regular
from sifmake.json_text import parse_json
from sifmake.project.lock_file import DisprovedLockError
from sifmake.reference import parse_reference
from sifmake.reference.reference import is_digest
from sifmake.reference.uri import REGISTRY_TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sifmake.limits import Limits
    from sifmake.project.locks import AnyLock
    from sifmake.reference import Uri

_IMAGE = re.compile(r"^image:[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)
_BASE = re.compile(
    r'^[ \t]*- \{image: "?[^\s"@{},]+@([^\s",}]+)"?, from: ("(?:[^"\\\n]|\\.)*"|[^\s",}]+)', re.MULTILINE
)
_CONFLICT = re.compile(r"^(?:<{7}|>{7})(?: |\r?$)", re.MULTILINE)


@dataclass(frozen=True)
class FoundLock:
    """The content of the file of a lock.

    Attributes:
        lock: The lock, if it is valid.
        why: Why there is no lock.
        name: Name of the image in an edited file; empty if the file has none.
        digest: The digest in an edited file, which has to be locked; empty if there is none.
        bases: In an edited lock of an image that is built, the digest of each base by its ``from``.
        disproved: The error of a lock whose checksum is valid but which contradicts itself.
    """

    lock: AnyLock | None = None
    why: str = ""
    name: str = ""
    digest: str = ""
    disproved: DisprovedLockError | None = None
    bases: Mapping[str, str] = field(default_factory=dict)

    def check_name(self, source: Uri, path: Path) -> None:
        """Compare what the file calls the image with what the configuration does.

        Raises:
            LockError: An edit names another image or tag; the next refresh would undo it.
        """
        if not self.name or source.transport not in REGISTRY_TRANSPORTS:
            return
        wanted = source.reference.with_digest("").canonical
        if _canonical(self.name) != wanted:
            what = f"was edited to {self.name}, but config/images.yaml has {wanted}"
            hint = f"write the tag into config/images.yaml too, then run `sifmake lock {path.stem}`"
            raise LockError(what, where=str(path), hint=hint)


def find_lock(path: Path, limits: Limits, read: Callable[[], AnyLock]) -> FoundLock:
    """Return the lock in a file, or the digest that an edit of it asks for.

    Args:
        path: The file.
        limits: Bounds on it.
        read: Returns its lock if it is a valid one; see :func:`~sifmake.project.lock_file.read_lock`.

    Raises:
        LockError: An edit is ambiguous: conflict markers, two images, or an invalid digest.
    """
    try:
        return FoundLock(read())
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
        hint = f"copy the digest from upstream, or remove the file, then run `sifmake lock {path.stem}`"
        raise LockError(f"{digest[:80]!r} in 'image' is not a digest", where=str(path), hint=hint)
    bases = {_scalar(source): digest for digest, source in _BASE.findall(text) if is_digest(digest)}
    disproved = error if isinstance(error, DisprovedLockError) else None
    return FoundLock(why=error.what, name=name, digest=digest, disproved=disproved, bases=bases)


def _scalar(text: str) -> str:
    """Return a scalar of a lock file: plain text, or text in quotes."""
    try:
        return str(parse_json(text)) if text.startswith('"') else text
    except ValueError:
        return text


def _canonical(name: str) -> str:
    try:
        return parse_reference(name).canonical
    except BadReferenceError:
        return name
