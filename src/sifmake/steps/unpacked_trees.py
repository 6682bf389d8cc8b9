"""Unpacked trees that steps run on, kept for the next build.

They are in a folder of the user alone, on a local disk and never in a store that others enter: a setuid file of an old
image in a folder that everybody may enter would let them become root.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_VARIABLES = ("SIFMAKE_TMPDIR", "APPTAINER_TMPDIR", "SINGULARITY_TMPDIR", "TMPDIR")
_USUAL = Path("/var", "tmp")
_TREES, _RUNS, _LOGS = "trees", "runs", "logs"
_USE, _UNFINISHED = ".use", ".tmp-"
_OTHERS = 0o077
DAY = 86_400
"""Seconds for which a tree is kept at least, unless somebody asks for less."""
_LARGEST_NOTE = 64


@dataclass(frozen=True)
class UnpackedTree:
    """A tree that is kept.

    Attributes:
        key: What it is found by.
        place: Its folder.
        size: Bytes of its files.
        used: Seconds since 1970 of its last use.
    """

    key: str
    place: Path
    size: int
    used: float


class UnpackedTrees:
    """The folder with all of them.

    Attributes:
        folder: Its path.
        logs: A folder for what failed steps have printed.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder, or use it if it is there.

        Raises:
            StoreError: It belongs to somebody else, or others can enter it.
            OSError: It cannot be made.
        """
        self.folder = folder
        self._runs = folder / _RUNS
        self.logs = folder / _LOGS
        _make_private(folder)
        for name in (_TREES, _RUNS, _LOGS):
            (folder / name).mkdir(0o700, exist_ok=True)

    @classmethod
    def usual_folder(cls, parent: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
        """Return where they are: below ``parent``, ``$SIFMAKE_TMPDIR``, where temporary files go, or /var/tmp."""
        if parent is None:
            parent = next((Path(environ[name]) for name in _VARIABLES if environ.get(name)), _USUAL)
        return parent.absolute() / f"sifmake-{os.geteuid()}"

    def has(self, key: str) -> bool:
        """Tell whether a tree is there; it may be removed before it is held."""
        return self._place(key).is_dir()

    @contextmanager
    def hold(
        self, key: str, make: Callable[[Path], int], remove: Callable[[Path], object], *, fresh: bool = False
    ) -> Iterator[Path]:
        """Give the folder of a tree, made now if it is not there; nobody removes it while the block runs.

        Args:
            key: What it is found by.
            make: Writes it into a folder that does not exist yet; returns the bytes of its files.
            remove: Removes a folder that was left unfinished.
            fresh: Whether one that is there is made again.
        """
        place, unfinished = self._place(key), self._place(f"{_UNFINISHED}{key}")
        fd = self._mark(key)
        try:
            if fresh or not place.is_dir():
                fcntl.flock(fd, fcntl.LOCK_EX)
                for old in (unfinished, *([place] if fresh else ())):
                    if old.exists():
                        remove(old)
                if not place.is_dir():
                    size = make(unfinished)
                    unfinished.rename(place)
                    os.pwrite(fd, b"%d" % size, 0)
                fcntl.flock(fd, fcntl.LOCK_SH)
            os.utime(fd)
            yield place
        finally:
            os.close(fd)

    @contextmanager
    def scratch(self, remove: Callable[[Path], object]) -> Iterator[Path]:
        """Give an empty folder on the same file system for what running steps write; it is removed when the block ends.

        Args:
            remove: Removes a folder.
        """
        name = os.urandom(8).hex()
        folder, mark = self._runs / name, self._runs / f"{name}{_USE}"
        fd = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            folder.mkdir(0o700)
            yield folder
        finally:
            if folder.exists():
                remove(folder)
            mark.unlink()
            os.close(fd)

    def sweep(self, remove: Callable[[Path], object]) -> None:
        """Remove what killed builds left.

        Args:
            remove: Removes a folder, whatever its owners and modes.
        """
        for mark in self._runs.glob(f"*{_USE}"):
            with suppress(FileNotFoundError):
                _remove_unheld(mark, [mark.with_name(mark.name.removesuffix(_USE))], remove)

    def _mark(self, key: str) -> int:
        """Open the file that stands for the use of a tree, locked; one that was removed meanwhile is made again."""
        path = self._place(f"{key}{_USE}")
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), path.lstat()):
                    return fd
            os.close(fd)

    def trees(self) -> list[UnpackedTree]:
        """Return what is there, unfinished ones included."""
        found = []
        for mark in sorted((self.folder / _TREES).glob(f"*{_USE}")):
            key = mark.name.removesuffix(_USE)
            text = mark.read_bytes()[:_LARGEST_NOTE]
            size = int(text) if text.isdigit() else 0
            found.append(UnpackedTree(key, self._place(key), size, mark.stat().st_mtime))
        return found

    def remove_unused(self, age: float, remove: Callable[[Path], object]) -> list[UnpackedTree]:
        """Remove trees that no build holds and none has used for that many seconds, and logs as old; return the trees.

        Args:
            age: Seconds.
            remove: Removes a folder, whatever its owners and modes.
        """
        now = time.time()
        for log in self.logs.iterdir():
            if now - log.stat().st_mtime >= age:
                log.unlink()
        return [tree for tree in self.trees() if now - tree.used >= age and self._remove(tree, remove)]

    def _remove(self, tree: UnpackedTree, remove: Callable[[Path], object]) -> bool:
        places = [tree.place, self._place(f"{_UNFINISHED}{tree.key}")]
        return _remove_unheld(self._place(f"{tree.key}{_USE}"), places, remove)

    def _place(self, name: str) -> Path:
        return self.folder / _TREES / name


def list_trees() -> list[UnpackedTree]:
    """Return the unpacked trees in the usual folder; none where there is no such folder."""
    folder = UnpackedTrees.usual_folder()
    return UnpackedTrees(folder).trees() if folder.is_dir() else []


def _remove_unheld(mark: Path, places: list[Path], remove: Callable[[Path], object]) -> bool:
    """Remove folders and the file that stands for their use, unless somebody has locked that; return whether."""
    fd = os.open(mark, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for place in places:
            if place.exists():
                remove(place)
        mark.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
            raise StoreError(
                "this folder for unpacked trees belongs to somebody else, or others can enter it",
                where=str(folder),
                hint="name another one with SIFMAKE_TMPDIR",
            ) from None
