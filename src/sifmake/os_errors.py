"""Add the file to errors of the operating system, because Python names it only if a path was given."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_FILES = frozenset(
    {
        errno.EACCES,
        errno.EBADF,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EINVAL,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENODEV,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ENXIO,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EROFS,
        errno.ESTALE,
        errno.ETXTBSY,
        errno.EXDEV,
    }
)
"""Errors of reading and writing files; errors of connections are not about files."""
_DELETED = " (deleted)"
_OPEN = "/proc/self/fd/"


def name_file(error: BaseException, path: Path) -> None:
    """Name a file in an error of the operating system that names none; leave errors of connections unchanged."""
    is_plain = isinstance(error, OSError) and type(error).__module__ == "builtins"  # not those of ssl and socket
    if is_plain and isinstance(error, OSError) and error.filename is None and error.errno in _OF_FILES:
        error.filename = str(path)


def path_in(error: OSError) -> str:
    """Return the path in an error, with the real path for an open file or folder; empty if it has none."""
    if not isinstance(error.filename, str | bytes | os.PathLike):
        return ""
    path = os.fsdecode(error.filename)
    if not path.startswith(_OPEN):
        return path
    number, slash, rest = path.removeprefix(_OPEN).partition("/")
    try:
        return f"{_name_of(int(number))}{slash}{rest}"
    except (OSError, ValueError):
        return path


def _name_of(fd: int) -> str:
    """Return the path of an open file, if the kernel knows one."""
    return str(Path(f"{_OPEN}{fd}").readlink()).removesuffix(_DELETED)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in errors that leave the block; see :func:`name_file`."""
    try:
        yield
    except OSError as error:
        name_file(error, path)
        error.filename = path_in(error) or None
        raise


@contextmanager
def naming_open(fd: int) -> Iterator[None]:
    """Name an open file, by the path that the kernel knows, in errors that leave the block."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            with suppress(OSError):
                error.filename = _name_of(fd)
        raise
