"""Unfinished files and folders: their names, the locks that show they are in use, and the removal of leftovers.

The name contains the host and its boot. A file of this host and boot is a leftover if nobody holds its lock, provided
that locks work. A file of another host must also be a day old by the file server's clock, because hosts may not see
each other's locks (NFS, Lustre with localflock).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from sifmake.os_errors import name_file, naming, path_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMP_PREFIX = ".tmp-"
MARK = ".sifmake-scratch"
"""Locked file in every temporary folder. A folder that a user moved there does not have it, and is never removed."""
DAY = 86_400
TRIES = 100
"""How many names to try if other processes remove a new file as a leftover before it is locked."""
_LONGEST_NAME = 80
"""Bytes of the target's name in a temporary name, so that the whole name has at most 255 bytes."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMELESS = os.O_TMPFILE | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC
NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""Errors of file systems that cannot create files without a name."""
_SEEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OTHERS = 0o077


def temporary_name(name: str) -> str:
    """Return a new name for an unfinished file or folder."""
    short = os.fsencode(name)[:_LONGEST_NAME].decode("utf-8", "ignore")
    return f"{TEMP_PREFIX}{short}-{_machine()}-{os.urandom(6).hex()}"


def _machine() -> str:
    """Return the part of a name that stands for this host and boot."""
    host = "".join(c if c.isascii() and c.isalnum() else "." for c in os.uname().nodename[:32])
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
        try:
            boot = os.read(fd, 64).decode("ascii", "replace")
        finally:
            os.close(fd)
    except OSError:
        boot = os.urandom(8).hex()  # unique for each name, so that only age decides
    return f"{host}.{boot.replace('-', '').strip()[:16]}"


def try_lock(fd: int) -> bool | None:
    """Lock an open file; return False if another process holds the lock, None if locks do not work."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def hold(fd: int) -> None:
    """Mark an open file as in use until it is closed; any number of processes may hold the mark."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


def is_unlocked(fd: int) -> bool | None:
    """Lock an open file and return whether it was free; None if locks do not work, so that everyone gets them."""
    taken = try_lock(fd)
    if not taken:
        return taken
    mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    try:
        other = os.open(f"/proc/self/fd/{fd}", mode | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return True if try_lock(other) is False else None
    finally:
        os.close(other)


def claim(fd: int, name: str, at: int | None = None) -> bool:
    """Lock a new file; return False if another process removed it as a leftover before it was locked.

    Args:
        fd: The open file.
        name: Its name or path.
        at: Open descriptor of its folder.
    """
    if try_lock(fd) is False:
        return False
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=at, follow_symlinks=False))
    except FileNotFoundError:
        return False


def create(path: Path, mode: int, at: int | None, tried: list[str]) -> int:
    """Create a temporary file beside a path, locked while it is open; remove leftovers in that folder.

    Args:
        path: The target.
        mode: Permission bits.
        at: Open descriptor of the target's folder; if given, the path is used for messages only.
        tried: Each name is added before it is tried; paths if there is no ``at``. The last one is the file's.

    Returns:
        The file's descriptor, for reading and writing.

    Raises:
        OSError: From open; it names the target.
    """
    for _ in range(TRIES):
        new = temporary_name(path.name)
        name = new if at is not None else str(path.with_name(new))
        tried.append(name)
        try:
            fd = os.open(name, _NEW, mode, dir_fd=at)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        if claim(fd, name, at):
            sweep_folder(path.parent, at)
            return fd
        os.close(fd)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))


def open_nameless(folder: Path) -> BinaryIO:
    """Open a new file without a name, for reading and writing; it disappears when it is closed.

    Args:
        folder: A folder on the file system to use.

    Raises:
        OSError: The file cannot be created.
    """
    try:
        return os.fdopen(os.open(folder, _NAMELESS, 0o600), "w+b")
    except OSError as error:
        if error.errno not in NO_NAMELESS:
            name_file(error, folder)
            raise
        import tempfile

        try:
            return cast("BinaryIO", tempfile.TemporaryFile(dir=folder))
        except OSError as other:
            raise OSError(other.errno, other.strerror, str(folder)) from None


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Create a temporary folder beside a path, locked while the block runs; it and its files are then removed.

    Raises:
        OSError: The folder cannot be created.
    """
    tried: list[Path] = []
    lock = -1
    try:
        lock = _make_folder(path, tried)
        sweep_folder(path.parent)
        yield tried[-1]
    except OSError as error:
        if any(folder.name in path_in(error) for folder in tried):
            error.filename = str(path)
        raise
    finally:
        for folder in tried:
            _remove_own(folder)
        if lock >= 0:
            os.close(lock)


def _make_folder(path: Path, tried: list[Path]) -> int:
    """Create a folder with a mark file; return the mark, open and locked."""
    for _ in range(TRIES):
        folder = path.with_name(temporary_name(path.name))
        tried.append(folder)
        with naming(path):
            folder.mkdir(0o700)
        with suppress(FileNotFoundError):  # another process removed it as a leftover
            with naming(path):
                lock = os.open(folder / MARK, _NEW, 0o600)
            if claim(lock, str(folder / MARK)):
                return lock
            os.close(lock)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))


def _remove_own(folder: Path) -> None:
    with suppress(OSError):
        for one in sorted(
            folder.iterdir(), key=lambda one: one.name == MARK
        ):  # the mark last: a folder without it would stay for ever
            one.unlink()
        folder.rmdir()


def sweep_folder(folder: Path, at: int | None = None, now: float | None = None) -> None:
    """Remove leftovers in a folder; those that cannot be removed stay.

    Args:
        folder: Its path.
        at: Open descriptor of the folder; if given, the path is not used.
        now: The time by the file server's clock; without it, only leftovers of this boot are removed.
    """
    with suppress(OSError):
        fd = os.open(folder if at is None else ".", _LIST, dir_fd=at)
        try:
            end = f"-{_machine()}"
            for name in _names_in(fd):
                mine = name.startswith(TEMP_PREFIX) and name.rpartition("-")[0].endswith(end)
                if mine or (now is not None and name.startswith(TEMP_PREFIX)):
                    _remove_left_over(fd, name, now, mine=mine)
        finally:
            os.close(fd)


def _remove_left_over(at: int, name: str, now: float | None, *, mine: bool) -> None:
    """Remove a temporary file or folder of this user unless it may be in use.

    Args:
        at: Open descriptor of its folder.
        name: Its name.
        now: See :func:`sweep_folder`.
        mine: Whether this host made it during this boot.
    """
    with suppress(OSError):
        status = os.stat(name, dir_fd=at, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _remove_folder(at, name, now, mine=mine)
        elif status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode):
            old = now is not None and status.st_mtime < now - DAY
            if old or mine:
                remove_unlocked(at, name, old=old, mine=mine)


def remove_unlocked(at: int, name: str, *, old: bool, mine: bool) -> None:
    """Remove a file that nobody has locked.

    Args:
        at: Open descriptor of its folder.
        name: Its name.
        old: Whether nobody wrote to it for a day; if so, it is removed even if locks do not work.
        mine: Whether only processes of this host can have locked it.

    Raises:
        OSError: The file cannot be opened or removed.
    """
    fd = _open_to_lock(at, name)
    try:
        unlocked = is_unlocked(fd)
        same = os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=at, follow_symlinks=False))
        if same and ((unlocked and (mine or old)) or (unlocked is None and old)):
            os.unlink(name, dir_fd=at)
    finally:
        os.close(fd)


def _open_to_lock(at: int, name: str) -> int:
    """Open a file so that it can be locked: for writing if permitted, because NFS requires that."""
    try:
        return os.open(name, os.O_RDWR | _SEEN, dir_fd=at)
    except PermissionError:
        return os.open(name, os.O_RDONLY | _SEEN, dir_fd=at)


def _remove_folder(at: int, name: str, now: float | None, *, mine: bool) -> None:
    """Remove a temporary folder: an empty one, or one with the mark in it that nobody has locked."""
    fd = os.open(name, _LIST | os.O_NOFOLLOW, dir_fd=at)
    try:
        status, names = os.fstat(fd), _names_in(fd)
        if status.st_uid != os.geteuid() or status.st_mode & _OTHERS or (names and MARK not in names):
            return
        times = [os.stat(one, dir_fd=fd, follow_symlinks=False).st_mtime for one in names]
        old = now is not None and max([status.st_mtime, *times]) < now - DAY
        if names and not _emptied(fd, old=old, mine=mine):
            return
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=at)


def _emptied(folder: int, *, old: bool, mine: bool) -> bool:
    """Empty a folder if it is a temporary folder that nobody has locked; return whether it is."""
    fd = _open_to_lock(folder, MARK)
    try:
        unlocked = is_unlocked(fd)
        left_over = bool(unlocked and (mine or old)) or (unlocked is None and old)
        if left_over:
            _empty(folder)
        return left_over
    finally:
        os.close(fd)


def _empty(folder: int) -> None:
    """Remove the files in an open temporary folder, the mark last, because a folder without it would stay for ever."""
    for name in sorted(_names_in(folder), key=lambda name: name == MARK):
        os.unlink(name, dir_fd=folder)


def _names_in(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]
