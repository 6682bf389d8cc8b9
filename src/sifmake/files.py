"""Writing files so that a killed run leaves the old file or none: write beside, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from sifmake import temporaries
from sifmake.errors import OutputPathError
from sifmake.os_errors import name_file, naming, naming_open

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CANNOT_SYNC = frozenset({errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EOPNOTSUPP})
"""Errors of file systems that cannot sync folders."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_MOST_LINKS = 40
"""The kernel's limit."""


class OpenTarget(NamedTuple):
    """A file to write to that the caller syncs and names.

    Attributes:
        path: A path for messages; temporary data go to its folder.
        file: The file.
    """

    path: Path
    file: BinaryIO


def exists_quietly(path: Path) -> bool:
    """Tell whether a path exists; False if a folder above it is not accessible, or if no file can have that name."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def why_irregular(path: Path) -> str:
    """Return what is at a path if it must not be replaced by a file; empty for a regular file or a free path.

    Links are followed, because a link may lead to a device or an open file (``/dev/stdout``, ``/proc/self/fd/1``) that
    other processes use.

    Raises:
        OSError: The path cannot be examined.
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
    """Raise an error unless a path is free or has a regular file.

    Raises:
        OutputPathError: Something else is there.
        OSError: As :func:`why_irregular`.
    """
    if what := why_irregular(path):
        raise OutputPathError(
            f"this is {what}, which must not be replaced", where=str(path), hint="name a regular file"
        )


def replace_file(temporary: Path, target: Path) -> None:
    """Rename a finished file to its target, durably; a file with that name is replaced.

    Raises:
        OutputPathError: The target exists and is not a regular file.
        OSError: From rename or fsync; it names the target.
    """
    refuse_irregular(target)
    try:
        temporary.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    fsync_folder(target.parent)


def read_regular(path: Path, most: int, *, pipes: bool = False) -> bytes:
    """Return the first bytes of a regular file; other kinds are refused, because a link may lead to an endless device.

    Args:
        path: The file.
        most: Bytes to read; pass one more than is allowed, to notice that a file is too long.
        pipes: Whether to wait for a named pipe and read it, too; a link to a pipe is refused.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    waits = pipes and stat.S_ISFIFO(os.lstat(path).st_mode)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NOFOLLOW if waits else os.O_NONBLOCK))
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        os.close(fd)
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with naming(path), os.fdopen(fd, "rb") as file:
        if not (stat.S_ISREG(mode) or (waits and stat.S_ISFIFO(mode))):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read(most)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_open(fd: int) -> str:
    """Return the SHA-256 of an open file from its beginning, hexadecimal, without closing it."""
    with naming_open(fd), os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_folder(folder: Path, at: int | None = None) -> None:
    """Make new names in a folder durable; do nothing if the file system cannot, or the folder is not readable.

    Args:
        folder: Its path.
        at: Open descriptor of the folder; if given, the path is used for messages only.

    Raises:
        OSError: The disk could not write the folder. The names exist, but a power failure may remove them.
    """
    try:
        fd = os.open(folder if at is None else ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    except PermissionError:
        return
    except OSError as error:
        error.filename = str(folder)
        raise
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            what = f"the file is in place, but its folder cannot be synced ({error.strerror})"
            raise OSError(error.errno, what, str(folder)) from error
    finally:
        os.close(fd)


def make_folders(folder: Path, mode: int = 0o777) -> None:
    """Create a folder and missing folders above it, durably.

    Args:
        folder: The folder; left unchanged if it exists.
        mode: Its permission bits before the umask.

    Raises:
        OSError: From mkdir or fsync.
    """
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with naming(folder):
        folder.mkdir(mode, exist_ok=True)
    fsync_folder(folder.parent)


@contextmanager
def atomic_write(path: Path, mode: int = 0o666, *, at: int | None = None, exact: bool = False) -> Iterator[BinaryIO]:
    """Open a file beside ``path`` for writing; rename it to ``path`` if the block ends without an error.

    Args:
        path: The target; its folder is created if it is missing.
        mode: Permission bits.
        at: Open descriptor of the target's folder; if given, the path is used for messages only.
        exact: Whether to set the mode regardless of the umask.

    Raises:
        OSError: From open, write, fsync or rename; it names the target, and no file is left behind.
        OutputPathError: The target exists and is not a regular file.
    """
    if at is None:
        make_folders(path.parent)
        refuse_irregular(path)
    with open_temporary(path, mode, at) as (temporary, file):
        if exact:
            os.fchmod(file.fileno(), mode)
        yield file
        file.flush()
        os.fsync(file.fileno())
        # Before closing the file, because closing releases the lock on it.
        os.replace(temporary, path if at is None else path.name, src_dir_fd=at, dst_dir_fd=at)
    fsync_folder(path.parent, at)


@contextmanager
def open_temporary(path: Path, mode: int, at: int | None) -> Iterator[tuple[str, BinaryIO]]:
    """Open a file beside a path and yield it with its name; after an error, remove it and add the target's path.

    Args:
        path: The target; its folder must exist.
        mode: Permission bits.
        at: Open descriptor of the target's folder; if given, the path is used for messages only.

    Raises:
        OSError: From open, and of the block; it names the target.
    """
    tried: list[str] = []
    try:
        # Inside the try block, because an interrupt may come after the file is created and before the call returns.
        with os.fdopen(temporaries.create(path, mode, at, tried), "w+b") as file:
            yield tried[-1], file
    except BaseException as error:
        for name in tried:
            with suppress(OSError):
                os.unlink(name, dir_fd=at)
        if isinstance(error, OSError) and error.filename in tried:
            error.filename = str(path)
        name_file(error, path)
        raise


def write_and_link(path: Path, data: bytes, mode: int) -> None:
    """Write a small file that appears complete or not at all, and replaces nothing; its folder must exist.

    Raises:
        FileExistsError: There is a file with that name.
        OSError: From write, fsync or link.
    """
    with open_temporary(path, mode, None) as (temporary, file):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.link(temporary, path)
        os.unlink(temporary, dir_fd=None)
    fsync_folder(path.parent)


def write_atomic(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace a small file with ``data``; see :func:`atomic_write`."""
    with atomic_write(path, mode) as file:
        file.write(data)


def write_changed(path: Path, data: bytes) -> bool:
    """Write a file as :func:`write_atomic` does, unless it has these bytes already; return whether it was written."""
    if path.is_file() and path.read_bytes() == data:
        return False
    write_atomic(path, data)
    return True
