"""Add the file to errors of the operating system, because Python names it only if a path was given."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False  # not typing.TYPE_CHECKING: `sifmake exec` reads files by way of here, and imports cost it most
if TYPE_CHECKING:
    from pathlib import Path

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
        name = _name_of(int(number))
    except ValueError:
        name = None
    return path if name is None else f"{name}{slash}{rest}"


def naming(path: Path) -> _Naming:
    """Name a file in errors that leave the block; see :func:`name_file`."""
    return _Naming(path)


def naming_open(fd: int) -> _NamingOpen:
    """Name an open file, by the path that the kernel knows, in errors that leave the block."""
    return _NamingOpen(fd)


class _Naming:
    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            name_file(error, self._path)
            error.filename = path_in(error) or None


class _NamingOpen:
    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = _name_of(self._fd)


def _name_of(fd: int) -> str | None:
    """Return the path of an open file, if the kernel knows one; None without."""
    try:
        return os.readlink(f"{_OPEN}{fd}").removesuffix(_DELETED)
    except OSError:
        return None
