"""Copying ranges of open files, by the kernel where it can, and hashing what was copied."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING

from sifmake.errors import PackDamagedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sifmake.assembly.placing import Extent
    from sifmake.layers.blocks import Workers
    from sifmake.progress import Task

COPY_SIZE = 16 << 20
SYNC_BYTES = 64 << 20
READ_SIZE = 1 << 20


def copy_extents(target: int, at: int, extents: Sequence[Extent], workers: Workers, task: Task) -> None:
    """Have the kernel copy extents one behind the other; on file systems that can, it shares the blocks instead.

    Args:
        target: File to write to.
        at: Offset in it of the first extent.
        extents: What is copied.
        workers: Have the thread that pushes written bytes to the disk.
        task: Told the progress.

    Raises:
        PackDamagedError: A source ends too early.
    """
    unsynced = 0
    for extent in extents:
        copy_range(extent.fd, extent.start, target, at, extent.size, task)
        at += extent.size
        unsynced += extent.size
        if unsynced >= SYNC_BYTES:
            workers.sync_soon(target)
            unsynced = 0


def copy_range(source: int, start: int, target: int, offset: int, size: int, task: Task) -> None:
    """Copy bytes from one open file to another.

    Raises:
        PackDamagedError: The source ends too early.
    """
    while size > 0:
        copied = _copy_some(source, start, target, offset, min(size, COPY_SIZE))
        if not copied:
            raise _cut_off()
        task.advance(copied)
        start += copied
        offset += copied
        size -= copied


def _copy_some(source: int, start: int, target: int, offset: int, size: int) -> int:
    try:
        return os.copy_file_range(source, target, size, start, offset)
    except OSError as error:
        # Old kernels and some file systems cannot, or not from one file system to another.
        if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
            raise
    return os.pwrite(target, os.pread(source, min(size, READ_SIZE), start), offset)


def hash_extents(head: bytes, extents: Iterable[Extent], tail: bytes) -> str:
    """Return the hex SHA-256 of some bytes, what extents hold, and some bytes.

    Raises:
        PackDamagedError: A source ends too early.
    """
    digest = hashlib.sha256(head)
    buffer = memoryview(bytearray(READ_SIZE))
    for extent in extents:
        start, left = extent.start, extent.size
        while left:
            got = os.preadv(extent.fd, [buffer[:left]], start)
            if not got:
                raise _cut_off()
            digest.update(buffer[:got])
            start += got
            left -= got
    digest.update(tail)
    return digest.hexdigest()


def _cut_off() -> PackDamagedError:
    return PackDamagedError("layer pack is cut off", hint="run the command again; the pack is made anew")
