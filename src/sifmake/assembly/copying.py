"""Sharing or copying ranges of open files, and hashing their bytes."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from sifmake.assembly.extents import BLOCK
from sifmake.errors import PackDamagedError
from sifmake.os_errors import naming_open
from sifmake.ranges import READ_SIZE, copy_some
from sifmake.reflinks import clone_range

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sifmake.assembly.extents import Extent
    from sifmake.layers.syncing import BackgroundSync
    from sifmake.progress import Task

_COPY_SIZE = 16 << 20
SYNC_BYTES = 64 << 20
"""Copied bytes after which writing to the disk is started."""


class Move(NamedTuple):
    """Bytes to copy.

    Attributes:
        source: The open file.
        start: Offset in it.
        offset: Offset in the target.
        size: Bytes.
    """

    source: int
    start: int
    offset: int
    size: int


def share_extents(target: int, at: int, extents: Sequence[Extent], task: Task) -> list[Move]:
    """Let a new file share whole blocks of extents with their sources, where the file system can; copy nothing.

    Args:
        target: File to write to; where nothing is written, it has zeros, so nothing is written for gaps.
        at: Offset in it of the first extent, or of the gap before it.
        extents: Extents that are one after another.
        task: Receives the progress.

    Returns:
        What has to be copied.
    """
    moves: list[Move] = []
    refused: set[int] = set()
    for extent in extents:
        at += extent.gap
        source, start, size, _ = extent
        first, last = (0, 0) if source in refused else extent.whole_blocks(at)
        if last and clone_range(source, start + first, target, at + first, last - first):
            task.advance(last - first)
            ends = ((0, first), (last, size))
            moves += [Move(source, start + begin, at + begin, end - begin) for begin, end in ends if end > begin]
        else:
            if last:
                refused.add(source)
            moves.append(Move(source, start, at, size))
        at += size
    return moves


def copy_moves(target: int, moves: Sequence[Move], syncing: BackgroundSync | None, task: Task) -> None:
    """Copy ranges, inside the kernel if possible.

    Args:
        target: File to write to.
        moves: What to copy.
        syncing: Pushes written bytes to the disk; the caller waits for it before it finishes the file. None if the
            file is synced later.
        task: Receives the progress.

    Raises:
        PackDamagedError: A source ends too early.
        OSError: From copying or syncing.
    """
    for source, start, offset, size in moves:
        _copy_range(source, start, target, offset, size, task)
        if syncing is not None and syncing.is_due(size):
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
    """Return the hex SHA-256 of a head, the bytes of extents with the gaps before them, and a tail.

    Raises:
        PackDamagedError: A source ends too early.
    """
    digest = hashlib.sha256(head)
    buffer = memoryview(bytearray(READ_SIZE))
    zeros = memoryview(bytes(BLOCK))
    for extent in extents:
        digest.update(zeros[: extent.gap])
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
