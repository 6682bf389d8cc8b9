"""Check whether a SIF file from an earlier stage is still the one that was made.

In the process that made it, comparing inode, size and times is enough. Another process compares its bytes with the
records: the digests of its objects, and the digest of everything else (the frame).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.errors import SifError

if TYPE_CHECKING:
    from pathlib import Path

_Facts = tuple[int, int, int, int, int]


class Seen:
    """Files that this process made or checked, with the attributes that change if somebody writes to them."""

    def __init__(self) -> None:
        self._facts: dict[Path, _Facts] = {}

    def note(self, path: Path) -> None:
        """Remember a file as good."""
        self._facts[path] = _facts(path)

    def is_unchanged(self, path: Path) -> bool:
        """Tell whether a file was noted, and nobody has written to it since then."""
        return path in self._facts and self._facts[path] == _facts(path)


def _facts(path: Path) -> _Facts:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def frame_of(path: Path) -> str:
    """Return the digest of everything in a SIF file except the data of its objects.

    Raises:
        SifError: It is not a SIF file.
    """
    # Most processes of a stage find it done, and open no file.
    from sifmake.sif import open_sif
    from sifmake.sif.frame import frame_digest

    with open_sif(path) as sif:
        return frame_digest(sif)


def has_frame(path: Path, made: dict[str, Any]) -> bool:
    """Tell whether everything in a SIF file, except the data of its objects, matches a stage's result."""
    try:
        return bool(made.get("frame") == frame_of(path))
    except SifError:
        return False


def has_objects(path: Path, objects: dict[str, str]) -> bool:
    """Tell whether the objects of a SIF file have the recorded digests; this reads all of their data."""
    from sifmake.sif import open_sif
    from sifmake.signing.hashing import ObjectHashes

    try:
        with open_sif(path) as sif:
            hashes = ObjectHashes(sif)
            return all(f"sha256:{hashes.digest(sif.get(int(n)), 'sha256')}" == one for n, one in objects.items())
    except SifError:
        return False
