"""Remove trees, whatever their modes are; the caller must have the necessary rights."""

from __future__ import annotations

import os
import stat

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
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
        except OSError:
            continue


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
