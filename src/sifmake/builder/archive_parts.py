"""What the words of ``cache export`` name: images by the digests of their manifests, and what steps gave."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import BadReferenceError, UsageError
from sifmake.project.lock_file import read_lock
from sifmake.project.locks import BuildLock, PrebuiltLock
from sifmake.project.stage_table import LOCK, TARGET, path_of
from sifmake.project.steps_lock import StepsLock, read_steps_lock, steps_lock_path
from sifmake.reference.uri import parse_uri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sifmake.project.locks import LockedBase
    from sifmake.project.steps_lock import LockedStep

_SUFFIXES = (".yaml", ".yml")


@dataclass
class ArchiveParts:
    """What an archive is to contain.

    Attributes:
        manifests: Digests of manifests or indexes.
        steps: What steps gave.
    """

    manifests: list[str] = field(default_factory=list)
    steps: list[LockedStep] = field(default_factory=list)


def find_parts(words: Iterable[str], project: Path) -> ArchiveParts:
    """Return what words name.

    Args:
        words: Digests, references with a digest, lock files, or names of images that have a lock in the project.
        project: Folder of the project.

    Raises:
        UsageError: A word is none of these, or an image is or needs a prebuilt SIF file.
        LockError: A lock file cannot be used.
    """
    found = _Search(project, ArchiveParts())
    for word in words:
        found.add(word)
    return found.parts


@dataclass
class _Search:
    project: Path
    parts: ArchiveParts
    _seen: set[Path] = field(default_factory=set)

    def add(self, word: str) -> None:
        name, _, digest = word.rpartition("@")
        if digest.startswith(("sha256:", "sha512:")):
            self.parts.manifests.append(digest)
            return
        paths = (Path(word), path_of(self.project, LOCK, name or word))
        path = next((path for path in paths if path.suffix in _SUFFIXES and path.is_file()), None)
        if path is None:
            what = "not a digest, a lock file or an image with a lock"
            raise UsageError(what, where=word, hint="write sha256: and 64 hex digits")
        self._add_lock(word, path)

    def _add_lock(self, word: str, path: Path) -> None:
        if path in self._seen:
            return
        self._seen.add(path)
        lock = read_lock(path)
        if isinstance(lock, PrebuiltLock):
            raise _is_finished("this image", word, lock.source.given)
        if not isinstance(lock, BuildLock):
            self.parts.manifests.append(lock.manifest)
            return
        for base in lock.inputs.bases:
            self._add_base(word, base)
        self.parts.steps += (read_steps_lock(steps_lock_path(path)) or StepsLock()).steps

    def _add_base(self, word: str, base: LockedBase) -> None:
        name = base.image.rpartition("@")[0]
        locked = path_of(self.project, LOCK, name)
        if base.source.removeprefix("./") == str(path_of(Path(), TARGET, name)) and locked.is_file():
            self._add_lock(name, locked)
            return
        try:
            uri = parse_uri(base.source)
        except BadReferenceError:
            return  # a folder, which travels with the project, like files
        if uri.is_sif and base.size:
            raise _is_finished("its base", word, base.source)
        if not uri.is_sif:
            self.parts.manifests.append(base.manifest)


def _is_finished(which: str, word: str, source: str) -> UsageError:
    what = f"{which} is a prebuilt SIF file, which archives cannot contain"
    return UsageError(what, where=word, hint=f"copy the file itself: {source}")
