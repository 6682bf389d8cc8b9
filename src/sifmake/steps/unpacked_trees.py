"""Unpacked trees for steps to run on, kept for the next build.

They are in a private folder of the user on a local disk, never in a shared store: a setuid file of an old image in a
folder open to everyone could make anyone root.
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

from sifmake.errors import SifmakeError, StoreError
from sifmake.temporaries import claim, try_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_VARIABLES = ("SIFMAKE_TMPDIR", "APPTAINER_TMPDIR", "SINGULARITY_TMPDIR", "TMPDIR")
_USUAL = Path("/var", "tmp")
_TREES, _RUNS, _LOGS = "trees", "runs", "logs"
_USE, _UNFINISHED = ".use", ".tmp-"
_OTHERS = 0o077
DAY = 86_400
"""Seconds for which a tree is kept at least, unless less is requested."""
_FRESH = 5 * DAY
"""Seconds for which a tree is used; systemd-tmpfiles removes what nobody has read for ten days."""
_LARGEST_NOTE = 80
_PATIENCE, _PAUSE = 5.0, 0.02
"""Seconds to wait for the last processes of a killed build, and between two looks at them."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class UnpackedTree:
    """A cached tree.

    Attributes:
        key: The key by which it is found.
        place: Its folder.
        size: Bytes of its files.
        used: Seconds since 1970 of its last use.
    """

    key: str
    place: Path
    size: int
    used: float


class UnpackedTrees:
    """The folder with all unpacked trees.

    Attributes:
        folder: Its path.
        logs: A folder for the output of failed steps.
    """

    def __init__(self, folder: Path) -> None:
        """Create the folder, or use an existing one.

        Raises:
            StoreError: Others can rename it, it belongs to another user, or others can enter it.
            OSError: It cannot be created.
        """
        self.folder = folder
        self._runs = folder / _RUNS
        self.logs = folder / _LOGS
        _make_private(folder)
        for name in (_TREES, _RUNS, _LOGS):
            (folder / name).mkdir(0o700, exist_ok=True)

    @classmethod
    def usual_folder(cls, parent: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
        """Return the folder: in ``parent``, ``$SIFMAKE_TMPDIR``, the folder for temporary files, or /var/tmp."""
        if parent is None:
            parent = next((Path(environ[name]) for name in _VARIABLES if environ.get(name)), _USUAL)
        return parent.absolute() / f"sifmake-{os.geteuid()}"

    def has(self, key: str) -> bool:
        """Tell whether a tree exists; it may be removed until it is held."""
        return self._place(key).is_dir()

    @contextmanager
    def hold(self, key: str, make: Callable[[Path], int], remove: Callable[[Path], object]) -> Iterator[Path]:
        """Provide the folder of a tree, created if missing; it is not removed while the block runs.

        Args:
            key: The key by which it is found.
            make: Writes it into a folder that does not exist yet; returns the bytes of its files.
            remove: Removes a folder that was left unfinished.
        """
        place, unfinished = self._place(key), self._place(f"{_UNFINISHED}{key}")
        fd = self._mark(key)
        try:
            if not place.is_dir() or _is_stale(fd):
                fcntl.flock(fd, fcntl.LOCK_EX)
                for old in (unfinished, *([place] if _is_stale(fd) else ())):
                    if old.exists():
                        remove(old)
                if not place.is_dir():
                    size = make(unfinished)
                    unfinished.rename(place)
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, b"%d %s %d" % (size, _boot() or b"-", time.time()), 0)
                fcntl.flock(fd, fcntl.LOCK_SH)
            os.utime(fd)
            yield place
        finally:
            os.close(fd)

    def spoil(self, place: Path) -> None:
        """Let a tree that was changed be created again when it is needed next.

        Args:
            place: Its folder, while it is held.
        """
        os.truncate(self._place(f"{place.name}{_USE}"), 0)

    @contextmanager
    def scratch(self, remove: Callable[[Path], object]) -> Iterator[Path]:
        """Provide an empty folder on the same file system for running steps; it is removed when the block ends.

        Args:
            remove: Removes a folder.
        """
        mark, fd = self._new_mark()
        folder = _run_of(mark)
        try:
            folder.mkdir(0o700)
            yield folder
        finally:
            if folder.exists():
                remove(folder)
            mark.unlink()
            os.close(fd)

    def _new_mark(self) -> tuple[Path, int]:
        """Create a locked file for a new run. Another build may sweep it before it is locked; then take another."""
        while True:
            mark = self._runs / f"{os.urandom(8).hex()}{_USE}"
            fd = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            if claim(fd, str(mark)):
                return mark, fd
            os.close(fd)

    def sweep(self, remove: Callable[[Path], object]) -> None:
        """Remove what killed builds have left. What cannot be removed stays for the next build.

        Args:
            remove: Removes a folder, whatever its owners and modes.
        """
        for mark in self._runs.glob(f"*{_USE}"):
            _remove_left(mark, remove)

    def _mark(self, key: str) -> int:
        """Open and lock the file that marks a tree as in use; create it again if it was removed meanwhile."""
        path = self._place(f"{key}{_USE}")
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_SH)
            if _is_at(path, fd):
                return fd
            os.close(fd)

    def trees(self) -> list[UnpackedTree]:
        """Return all trees, including unfinished ones."""
        found = []
        for mark in sorted((self.folder / _TREES).glob(f"*{_USE}")):
            key = mark.name.removesuffix(_USE)
            with suppress(FileNotFoundError):  # another process has removed it
                text = mark.read_bytes()[:_LARGEST_NOTE].partition(b" ")[0]
                size = int(text) if text.isdigit() else 0
                found.append(UnpackedTree(key, self._place(key), size, mark.stat().st_mtime))
        return found

    def remove_unused(self, age: float, remove: Callable[[Path], object]) -> list[UnpackedTree]:
        """Remove trees and logs that were unused for ``age`` seconds and are not held; return the trees.

        Args:
            age: Seconds.
            remove: Removes a folder, whatever its owners and modes.
        """
        now = time.time()
        for log in self.logs.iterdir():
            with suppress(FileNotFoundError):  # the step has ended
                if now - log.stat().st_mtime >= age:
                    log.unlink()
        return [tree for tree in self.trees() if now - tree.used >= age and self._remove(tree, remove)]

    def _remove(self, tree: UnpackedTree, remove: Callable[[Path], object]) -> bool:
        places = [tree.place, self._place(f"{_UNFINISHED}{tree.key}")]
        return _remove_unheld(self._place(f"{tree.key}{_USE}"), places, remove)

    def _place(self, name: str) -> Path:
        return self.folder / _TREES / name


def _boot() -> bytes:
    """Return what the kernel calls this run of the machine; empty where it does not say (random(4))."""
    try:
        return _BOOT.read_bytes().strip()
    except OSError:
        return b""


def _is_stale(fd: int) -> bool:
    """Tell whether a tree may have lost files.

    It is not synced, so it may have when the machine was started again. And what cleans folders for temporary files
    removes the files that were not read for some days, even if others in the tree were.
    """
    _, boot, made = [*os.pread(fd, _LARGEST_NOTE, 0).split(b" ", 2), b"", b""][:3]
    return boot != (_boot() or b"-") or not made.isdigit() or not 0 <= time.time() - int(made) < _FRESH


def list_trees() -> list[UnpackedTree]:
    """Return the unpacked trees in the usual folder; none if there is no such folder."""
    folder = UnpackedTrees.usual_folder()
    return UnpackedTrees(folder).trees() if folder.is_dir() else []


def _run_of(mark: Path) -> Path:
    """Return the folder of a run."""
    return mark.with_name(mark.name.removesuffix(_USE))


def _remove_left(mark: Path, remove: Callable[[Path], object]) -> None:
    """Remove the folder of a run that has ended, and the file that marks it as in use.

    The processes that a killed build had started end after it. Until then they may write to the folder.
    """
    deadline = time.monotonic() + _PATIENCE
    folder = _run_of(mark)
    while True:
        with suppress(OSError, SifmakeError):
            _remove_unheld(mark, [folder], remove)
            return
        if not _is_worked_in(folder) or time.monotonic() > deadline:
            return
        time.sleep(_PAUSE)


def _is_worked_in(folder: Path) -> bool:
    """Whether a process has locked a folder in this one, as all do that a build starts."""
    with suppress(OSError):
        return any(_is_locked(one) for one in folder.iterdir())
    return False


def _is_locked(folder: Path) -> bool:
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return try_lock(fd) is False
        finally:
            os.close(fd)
    return False


def _remove_unheld(mark: Path, places: list[Path], remove: Callable[[Path], object]) -> bool:
    """Remove folders and the file that marks them as in use, unless it is locked; return whether that was done.

    Another process may remove both at the same time, and a third one make them again.
    """
    try:
        fd = os.open(mark, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(mark, fd):
            return False
        for place in places:
            if place.exists():
                remove(place)
        mark.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _is_at(path: Path, fd: int) -> bool:
    """Tell whether an open file still has its name: another process may have removed it, or made it again."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _make_private(folder: Path) -> None:
    above = folder.parent.stat()
    if above.st_uid not in (0, os.geteuid()) or above.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
        raise StoreError(
            "in this folder others can put theirs in the place of yours, so no tree is unpacked there",
            where=str(folder.parent),
            hint="name another folder with SIFMAKE_TMPDIR",
        )
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
            raise StoreError(
                "this folder for unpacked trees belongs to another user, or others can enter it",
                where=str(folder),
                hint="name another folder with SIFMAKE_TMPDIR",
            ) from None
