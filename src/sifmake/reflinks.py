"""Blocks that files share on disk, on file systems with reflinks (XFS, Btrfs, others): share them, and count them."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING

from sifmake.temporaries import open_nameless

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FICLONERANGE = 0x4020940D
_CLONE_RANGE = struct.Struct("<qQQQ")  # source, its offset, bytes, offset in the target
_FIEMAP = 0xC020660B
_MAP_HEAD = struct.Struct("<QQIIII")  # start, length, flags, extents found, room for extents, 0
_MAP_EXTENT = struct.Struct("<QQQ16xI12x")  # offset, place on disk, bytes, flags
_AT_ONCE = 128
_LAST, _SHARED = 0x1, 0x2000
"""Flags of an extent (``fiemap.h``)."""
_PROBE = 1 << 16
"""Bytes that are shared for a trial: a multiple of the blocks of all file systems that were seen."""


def clone_range(source: int, start: int, target: int, offset: int, size: int) -> bool:
    """Let two open files share blocks (``ioctl_ficlonerange(2)``); return whether the file system did it.

    The file system wants multiples of its block. If it refuses for any reason, nothing is lost: the caller copies the
    bytes, and a real error then appears again.
    """
    try:
        fcntl.ioctl(target, _FICLONERANGE, _CLONE_RANGE.pack(source, start, size, offset))
    except OSError:
        return False
    return True


def can_share(one: Path, other: Path) -> bool:
    """Tell by a trial whether files in two folders, which may be missing yet, can share blocks.

    False if nothing can be written there.
    """
    try:
        with open_nameless(_existing(one)) as source, open_nameless(_existing(other)) as target:
            source.write(bytes(_PROBE))
            source.flush()
            return clone_range(source.fileno(), 0, target.fileno(), 0, _PROBE)
    except OSError:
        return False


def _existing(folder: Path) -> Path:
    """Return a folder, or the first one above it that exists."""
    return next((path for path in (folder, *folder.parents) if path.is_dir()), folder)


def shared_bytes(path: Path) -> int:
    """Return how many bytes of a file are in blocks that other files have, too; 0 if the file system does not say."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        shared = sum(size for size, flags in _extents(fd) if flags & _SHARED)
        return min(shared, os.fstat(fd).st_size)
    except OSError:
        return 0
    finally:
        os.close(fd)


def _extents(fd: int) -> Iterator[tuple[int, int]]:
    """Yield bytes and flags of each extent of an open file (``Documentation/filesystems/fiemap.rst``)."""
    at, flags = 0, 0
    while not flags & _LAST:
        buffer = bytearray(_MAP_HEAD.size + _AT_ONCE * _MAP_EXTENT.size)
        _MAP_HEAD.pack_into(buffer, 0, at, (1 << 64) - 1 - at, 0, 0, _AT_ONCE, 0)
        fcntl.ioctl(fd, _FIEMAP, buffer)
        found = _MAP_HEAD.unpack_from(buffer)[3]
        if not found:
            return
        for number in range(found):
            offset, _, size, flags = _MAP_EXTENT.unpack_from(buffer, _MAP_HEAD.size + number * _MAP_EXTENT.size)
            yield size, flags
            at = offset + size
