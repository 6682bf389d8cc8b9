"""Writing files so that a killed run leaves the old file or none: write beside, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from sifmake import temporaries
from sifmake.errors import OutputPathError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CANNOT_SYNC = frozenset({errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP})
"""What file systems say that have no fsync for folders."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_MOST_LINKS = 40
"""As many as the kernel follows."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def exists_quietly(path: Path) -> bool:
    """Tell whether there is anything at a path that may be looked at; a folder above it may be closed."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def why_irregular(path: Path) -> str:
    """Say what stands at a path that must not be replaced by a file; empty for a regular file and for nothing.

    A link is followed: one to a device or to an open file (``/dev/stdout``, ``/proc/self/fd/1``) is what others use.

    Raises:
        OSError: The path cannot be looked at.
    """
    try:
        mode = os.lstat(path).st_mode
        for _ in range(_MOST_LINKS):
            if not stat.S_ISLNK(mode):
                break
            if path.parent.resolve().is_relative_to("/proc"):
                return "an open file of a process"
            path = path.parent / path.readlink()
            mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return ""
    return _KINDS.get(stat.S_IFMT(mode), "")


def refuse_irregular(path: Path) -> None:
    """Do nothing where a path is free or has a regular file.

    Raises:
        OutputPathError: Something else is there.
        OSError: As :func:`why_irregular`.
    """
    if what := why_irregular(path):
        raise OutputPathError(f"this is {what}, which is not replaced", where=str(path), hint="name a file")


def replace_file(temporary: Path, target: Path) -> None:
    """Give a finished file its name, durably; a file of that name is replaced.

    Raises:
        OutputPathError: Something that is not a file is there.
        OSError: As rename and fsync do; it names the target.
    """
    refuse_irregular(target)
    try:
        temporary.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    fsync_folder(target.parent)


def read_regular(path: Path, most: int, *, pipes: bool = False) -> bytes:
    """Return the first bytes of a regular file; a link in a repository may lead to a device that never ends.

    Args:
        path: The file.
        most: Bytes to read; give one more than are allowed, to see that there are too many.
        pipes: Whether a named pipe is waited for and read too; one that a link leads to is not.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    waits = pipes and stat.S_ISFIFO(os.lstat(path).st_mode)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NOFOLLOW if waits else os.O_NONBLOCK))
    with os.fdopen(fd, "rb") as file:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or (waits and stat.S_ISFIFO(mode))):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(most)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_open(fd: int) -> str:
    """Return the SHA-256 of an open file from its beginning, hexadecimal; the descriptor stays open."""
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_folder(folder: Path, at: int | None = None) -> None:
    """Make new names in a folder durable; file systems that cannot, and folders closed to reading, are left alone.

    Args:
        folder: Its path.
        at: The folder itself, open; then the path is for messages only.

    Raises:
        OSError: The disk could not write the folder. The names are there, but a power failure may take them away.
    """
    try:
        fd = os.open(folder if at is None else ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    except PermissionError:
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            what = f"what was written is in place, but the folder cannot be synced ({error.strerror})"
            raise OSError(error.errno, what, str(folder)) from error
    finally:
        os.close(fd)


def make_folders(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it that are missing, durably.

    Args:
        folder: One that is there is left as it is.
        mode: Its permission bits before the umask.

    Raises:
        OSError: As mkdir and fsync do.
    """
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(mode, exist_ok=True)
    fsync_folder(folder.parent)


@contextmanager
def atomic_write(path: Path, mode: int = 0o666, *, at: int | None = None, exact: bool = False) -> Iterator[BinaryIO]:
    """Open a file beside ``path`` for writing; rename it to ``path`` when the block ends well.

    Args:
        path: The target; its folder is made when missing.
        mode: Permission bits.
        at: The folder of the target, open: the path is for messages then.
        exact: Whether the umask takes nothing from the mode.

    Raises:
        OSError: As open, write, fsync and rename do; nothing is left behind then. Where there is no room, it names
            the target.
        OutputPathError: Something that is not a file is there.
    """
    if at is None:
        make_folders(path.parent)
        refuse_irregular(path)
    with _open_temporary(path, mode, at) as (temporary, file):
        if exact:
            os.fchmod(file.fileno(), mode)
        yield file
        file.flush()
        os.fsync(file.fileno())
        # Before it is closed: the lock on it ends then.
        os.replace(temporary, path if at is None else path.name, src_dir_fd=at, dst_dir_fd=at)
    fsync_folder(path.parent, at)


@contextmanager
def _open_temporary(path: Path, mode: int, at: int | None) -> Iterator[tuple[str, BinaryIO]]:
    """Open a file beside ``path``; give its name and remove it after an error, which gets the path of the target."""
    tried: list[str] = []
    try:
        # In here already: an interrupt may come when the file is there and the call has not returned.
        with os.fdopen(temporaries.create(path, mode, at, tried), "w+b") as file:
            yield tried[-1], file
    except BaseException as error:
        for name in tried:
            with suppress(OSError):
                os.unlink(name, dir_fd=at)
        if isinstance(error, OSError) and error.filename in tried:
            error.filename = str(path)
        add_path_to_enospc(error, path)
        raise


def write_and_link(path: Path, data: bytes, mode: int) -> None:
    """Write a small file that appears whole or not at all and replaces nothing; its folder is there.

    Raises:
        FileExistsError: There is a file of that name.
        OSError: As write, fsync and link do.
    """
    with _open_temporary(path, mode, None) as (temporary, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.link(temporary, path)
        os.unlink(temporary, dir_fd=None)
    fsync_folder(path.parent)


def add_path_to_enospc(error: BaseException, path: Path) -> None:
    """Let an error of writing that has no path and tells of no room name the file."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
        error.filename = str(path)


def write_atomic(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace a whole small file by ``data``; see :func:`atomic_write`."""
    with atomic_write(path, mode) as file:
        file.write(data)
