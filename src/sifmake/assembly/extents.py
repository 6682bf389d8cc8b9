"""Ranges of bytes that an image is copied from, placed so that file systems can share their blocks.

A file system shares whole blocks. So a long range is put where its offset in the image, modulo the size of a block, is
that in its source; zeros fill the gap before it. This is done on every file system, so that all give the same bytes.
"""

from __future__ import annotations

from typing import NamedTuple

BLOCK = 4096
"""Size of the blocks that are shared, bytes: that of nearly all file systems with reflinks on x86-64 and arm64."""

_LEAST_SHARED = 64 << 10
"""Smallest range that is worth a gap, which is half a block on average; smaller ones are copied."""


class Extent(NamedTuple):
    """Bytes that are contiguous both in a file and in the image.

    Attributes:
        fd: The open file.
        start: Offset in it.
        size: Bytes.
        gap: Zeros before these bytes in the image; fewer than a block.
    """

    fd: int
    start: int
    size: int
    gap: int = 0

    def whole_blocks(self, at: int) -> tuple[int, int]:
        """Return the first and last offset, counted from the first byte, of the blocks that can be shared.

        Only blocks that are inside the range, because the rest of others holds bytes that do not belong to the image:
        in a pack, they may be of a deleted file.

        Args:
            at: Where these bytes are in the target.
        """
        head = -self.start % BLOCK
        blocks = (self.size - head) // BLOCK
        if (at - self.start) % BLOCK or self.size < _LEAST_SHARED or blocks < 1:
            return 0, 0
        return head, head + blocks * BLOCK


def gap_before(end: int, start: int, size: int) -> int:
    """Return how many zeros go before a range of bytes.

    Args:
        end: Where the image ends without them, from the start of the squashfs, which is at a multiple of ``BLOCK``.
        start: Offset of the range in its source.
        size: Bytes of the range.
    """
    return (start - end) % BLOCK if size >= _LEAST_SHARED else 0
