"""Remove trees, whatever their modes are; the caller must have the necessary rights."""

from __future__ import annotations

import os
import stat
import sys

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
"""FS_IOC_GETFLAGS and FS_IOC_SETFLAGS of 64-bit programs (linux/fs.h)."""
_PROTECTED = 0x10 | 0x20
"""FS_IMMUTABLE_FL and FS_APPEND_FL."""
_DEEPEST = 200
"""Most folders held open at once; deeper folders are moved up first."""


def empty_folder(path: str) -> None:
    """Remove the content of a folder without following links. What cannot be removed stays.

    Raises:
        OSError: The folder itself cannot be opened.
    """
    fd = os.open(path, _FOLDER)
    try:
        before: list[str] = []
        while (
            names := sorted(os.listdir(fd))
        ) and names != before:  # folders that were moved up are removed in the next round
            _empty(fd, fd, 0)
            before = names
    finally:
        os.close(fd)


def _empty(folder: int, top: int, depth: int) -> None:
    for name in os.listdir(folder):
        try:
            _remove(name, folder, top, depth)
        except PermissionError:
            _allow_changes(folder)
            _remove_again(name, folder, top, depth)
        except OSError:
            continue


def _remove_again(name: str, folder: int, top: int, depth: int) -> None:
    """Remove a name although it may be protected."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            _allow_changes(fd)
        finally:
            os.close(fd)
        _remove(name, folder, top, depth)
    except OSError:
        return


def _allow_changes(fd: int) -> None:
    """Clear the flags with which root makes files immutable (chattr(1)), if there are any."""
    import fcntl

    try:
        flags = int.from_bytes(fcntl.ioctl(fd, _GET_FLAGS, bytes(8)), sys.byteorder)
        if flags & _PROTECTED:
            fcntl.ioctl(fd, _SET_FLAGS, (flags & ~_PROTECTED).to_bytes(8, sys.byteorder))
    except OSError:  # not every file system has flags
        return


def _remove(name: str, folder: int, top: int, depth: int) -> None:
    mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    if not stat.S_ISDIR(mode):
        os.unlink(name, dir_fd=folder)
        return
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(name, stat.S_IRWXU, dir_fd=folder)
    if depth > _DEEPEST:
        os.rename(name, f".deep-{os.urandom(8).hex()}", src_dir_fd=folder, dst_dir_fd=top)
        return
    fd = os.open(name, _FOLDER, dir_fd=folder)
    try:
        _empty(fd, top, depth + 1)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=folder)
