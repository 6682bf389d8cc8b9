"""Telling whether a SIF file that an earlier stage left is still the one that was made.

In the process that made it a look at inode, size and times is enough. In another one its bytes are compared with the
records: the digests of its objects, and that of everything else (the frame).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.errors import SifError
from sifmake.sif import open_sif
from sifmake.sif.frame import frame_digest

if TYPE_CHECKING:
    from pathlib import Path

_Facts = tuple[int, int, int, int, int]


class Seen:
    """Files that this process made or checked, with what changes when somebody writes to them."""

    def __init__(self) -> None:
        self._facts: dict[Path, _Facts] = {}

    def note(self, path: Path) -> None:
        """Remember a file as good."""
        self._facts[path] = _facts(path)

    def is_unchanged(self, path: Path) -> bool:
        """Tell whether a file is one that was noted, and nobody has written to it since."""
        return path in self._facts and self._facts[path] == _facts(path)


def _facts(path: Path) -> _Facts:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def frame_of(path: Path) -> str:
    """Return the digest of what is in a SIF file besides the data of its objects.

    Raises:
        SifError: It is no SIF file.
    """
    with open_sif(path) as sif:
        return frame_digest(sif)


def has_frame(path: Path, made: dict[str, Any]) -> bool:
    """Tell whether everything in a SIF file but the data of its objects is as a stage's result says."""
    try:
        return bool(made.get("frame") == frame_of(path))
    except SifError:
        return False


def has_objects(path: Path, objects: dict[str, str]) -> bool:
    """Tell whether the objects of a SIF file have the digests that its record says; all of their data are read."""
    from sifmake.signing.hashing import ObjectHashes

    try:
        with open_sif(path) as sif:
            hashes = ObjectHashes(sif)
            return all(f"sha256:{hashes.digest(sif.get(int(n)), 'sha256')}" == one for n, one in objects.items())
    except SifError:
        return False
