"""Copying ranges of open files, inside the kernel if possible, and hashing the copied bytes."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from sifmake.errors import PackDamagedError
from sifmake.os_errors import naming_open
from sifmake.ranges import READ_SIZE, copy_some

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sifmake.assembly.placing import Extent
    from sifmake.layers.syncing import BackgroundSync
    from sifmake.progress import Task

_COPY_SIZE = 16 << 20
SYNC_BYTES = 64 << 20
"""Copied bytes after which writing to the disk is started."""


def copy_extents(target: int, at: int, extents: Sequence[Extent], syncing: BackgroundSync, task: Task) -> None:
    """Have the kernel copy extents one after the other; if the file system can, it shares the blocks instead.

    Args:
        target: File to write to.
        at: Offset in it of the first extent.
        extents: The extents to copy.
        syncing: Pushes written bytes to the disk; the caller waits for it before it finishes the file.
        task: Receives the progress.

    Raises:
        PackDamagedError: A source ends too early.
        OSError: From copying or syncing.
    """
    for extent in extents:
        _copy_range(extent.fd, extent.start, target, at, extent.size, task)
        at += extent.size
        if syncing.is_due(extent.size):
            syncing.start(target)


def _copy_range(source: int, start: int, target: int, offset: int, size: int, task: Task) -> None:
    """Copy bytes from one open file to another.

    Raises:
        PackDamagedError: The source ends too early.
    """
    while size > 0:
        copied = copy_some(source, start, target, offset, min(size, _COPY_SIZE))
        if not copied:
            raise _cut_off()
        task.advance(copied)
        start += copied
        offset += copied
        size -= copied


def hash_extents(head: bytes, extents: Iterable[Extent], tail: bytes | bytearray) -> str:
    """Return the hex SHA-256 of a head, the bytes of extents, and a tail.

    Raises:
        PackDamagedError: A source ends too early.
    """
    digest = hashlib.sha256(head)
    buffer = memoryview(bytearray(READ_SIZE))
    for extent in extents:
        start, left = extent.start, extent.size
        while left:
            with naming_open(extent.fd):
                got = os.preadv(extent.fd, [buffer[:left]], start)
            if not got:
                raise _cut_off()
            digest.update(buffer[:got])
            start += got
            left -= got
    digest.update(tail)
    return digest.hexdigest()


def _cut_off() -> PackDamagedError:
    return PackDamagedError("layer pack is truncated", hint="run the command again to make the pack again")
