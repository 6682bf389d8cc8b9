"""Copying ranges of open files, by the kernel where it can, and hashing what was copied."""

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
"""Copied bytes after which the disk is set to work."""


def copy_extents(target: int, at: int, extents: Sequence[Extent], syncing: BackgroundSync, task: Task) -> None:
    """Have the kernel copy extents one behind the other; on file systems that can, it shares the blocks instead.

    Args:
        target: File to write to.
        at: Offset in it of the first extent.
        extents: What is copied.
        syncing: Pushes written bytes to the disk; whoever finishes the file waits for it.
        task: Told the progress.

    Raises:
        PackDamagedError: A source ends too early.
        OSError: As copying and syncing do.
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
    """Return the hex SHA-256 of some bytes, what extents hold, and some bytes.

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
    return PackDamagedError("layer pack is truncated", hint="run the command again; the pack is made anew")
