"""What is not finished yet: its name, the lock that says that somebody works on it, and the end of what is left over.

The name has host and boot in it. What was made since this machine started is left over when nobody holds its lock,
where locks work. What other hosts made, which may not see each other's locks (NFS, Lustre with localflock), has to be a
day old too, by the clock of the file server.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMP_PREFIX = ".tmp-"
MARK = ".sifmake-scratch"
"""Stands in every temporary folder, with the lock: one that somebody moved there from elsewhere has none, and stays."""
DAY = 86_400
TRIES = 100
"""New names that are tried while others take for left over what is not locked yet."""
_LONGEST_NAME = 80
"""Bytes of the target's name in that of a temporary: with the rest, 255 are enough."""
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMELESS = os.O_TMPFILE | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC
NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""What file systems say that cannot make files without a name."""
_SEEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OTHERS = 0o077


def temporary_name(name: str) -> str:
    """Return a new name for a file or folder that is not finished yet."""
    short = os.fsencode(name)[:_LONGEST_NAME].decode("utf-8", "ignore")
    return f"{TEMP_PREFIX}{short}-{_machine()}-{os.urandom(6).hex()}"


def _machine() -> str:
    """Return this host and its boot as names have them."""
    host = "".join(c if c.isascii() and c.isalnum() else "." for c in os.uname().nodename[:32])
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
        try:
            boot = os.read(fd, 64).decode("ascii", "replace")
        finally:
            os.close(fd)
    except OSError:
        boot = os.urandom(8).hex()  # no two names have it: then age decides
    return f"{host}.{boot.replace('-', '').strip()[:16]}"


def try_lock(fd: int) -> bool | None:
    """Lock an open file; return False where somebody else has locked it, None where locks do not work."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def hold(fd: int) -> None:
    """Let others see that an open file is in use, as long as it is open; any number may hold it."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


def is_unlocked(fd: int) -> bool | None:
    """Lock an open file and return whether that could be done; None where it means nothing, for all get the lock."""
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
    """Lock what was just made; return False where somebody took it for left over before it was locked.

    Args:
        fd: It, open.
        name: Its name or path.
        at: The folder that it is in, open.
    """
    if try_lock(fd) is False:
        return False
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=at, follow_symlinks=False))
    except FileNotFoundError:
        return False


def create(path: Path, mode: int, at: int | None, tried: list[str]) -> int:
    """Make a temporary file beside a path, locked as long as it is open; remove what is left over there.

    Args:
        path: The target.
        mode: Permission bits.
        at: The target's folder, open; then the path is for messages.
        tried: Gets the names that are tried before they are: paths without ``at``. The last one is the file's.

    Returns:
        Its descriptor, for reading and writing.

    Raises:
        OSError: As open does; it names the target.
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
    """Open a new file without a name, for reading and writing; it is gone when it is closed.

    Args:
        folder: On the file system that it is to be on.

    Raises:
        OSError: It cannot be made.
    """
    try:
        return os.fdopen(os.open(folder, _NAMELESS, 0o600), "w+b")
    except OSError as error:
        if error.errno not in NO_NAMELESS:
            raise
        import tempfile

        return cast("BinaryIO", tempfile.TemporaryFile(dir=folder))


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside a path, locked while the block runs; it and its files are removed in the end.

    Raises:
        OSError: It cannot be made.
    """
    tried: list[Path] = []
    lock = -1
    try:
        lock = _make_folder(path, tried)
        sweep_folder(path.parent)
        yield tried[-1]
    except OSError as error:
        if isinstance(error.filename, str) and any(error.filename.startswith(f"{folder}") for folder in tried):
            error.filename = str(path)
        raise
    finally:
        for folder in tried:
            _remove_own(folder)
        if lock >= 0:
            os.close(lock)


def _make_folder(path: Path, tried: list[Path]) -> int:
    """Make a folder with a mark; return the mark, open and locked."""
    for _ in range(TRIES):
        folder = path.with_name(temporary_name(path.name))
        tried.append(folder)
        folder.mkdir(0o700)
        with suppress(FileNotFoundError):  # somebody took it for left over
            lock = os.open(folder / MARK, _NEW, 0o600)
            if claim(lock, str(folder / MARK)):
                return lock
            os.close(lock)
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))


def _remove_own(folder: Path) -> None:
    with suppress(OSError):
        for one in sorted(folder.iterdir(), key=lambda one: one.name == MARK):  # what may be left needs the mark
            one.unlink()
        folder.rmdir()


def sweep_folder(folder: Path, at: int | None = None, now: float | None = None) -> None:
    """Remove what is left over in a folder; what cannot be removed stays.

    Args:
        folder: Its path.
        at: The folder itself, open; then the path means nothing.
        now: The time, by the clock of the file server; without, only what is of this boot goes.
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
        at: The folder that it is in, open.
        name: Its name.
        now: See :func:`sweep_folder`.
        mine: Whether this host made it since it started.
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
        at: The folder that it is in, open.
        name: Its name.
        old: Whether it was not written to for a day: then it goes also where locks do not work.
        mine: Whether all who might have locked it are on this host.

    Raises:
        OSError: It cannot be opened or removed.
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
    """Open a file so that NFS, too, lets it be locked: for writing where that may be."""
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
    """Empty a temporary folder that nobody has locked; return whether it was one."""
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
    """Remove the files in an open temporary folder, the mark last: what may be left of the folder needs it."""
    for name in sorted(_names_in(folder), key=lambda name: name == MARK):
        os.unlink(name, dir_fd=folder)


def _names_in(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]
