"""Streams of metadata blocks, and tables of fixed records with an index of block starts."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sifmake.errors import SquashfsError
from sifmake.squashfs.format import MAX_32, METADATA_HEADER, METADATA_SIZE, METADATA_UNCOMPRESSED

if TYPE_CHECKING:
    from collections.abc import Callable


class MetadataStream:
    """Bytes cut into compressed blocks of 8 KiB, each after its 16-bit header.

    A place in the stream is given by a reference: the start of its block among the compressed bytes, shifted left by
    16, and the offset in the uncompressed block.
    """

    def __init__(self, compress: Callable[[bytes], bytes]) -> None:
        self._compress = compress
        self._pending = bytearray()
        self._stored = bytearray()
        self.starts = [0]
        """Starts of all blocks begun so far, in stored bytes."""

    @property
    def position(self) -> int:
        """Uncompressed bytes so far."""
        return (len(self.starts) - 1) * METADATA_SIZE + len(self._pending)

    def append(self, data: bytes | bytearray) -> int:
        """Add bytes and return the reference of the first of them.

        Raises:
            SquashfsError: The table outgrows its 32-bit offsets.
        """
        pending = self._pending
        reference = self.starts[-1] << 16 | len(pending)
        pending += data
        if len(pending) >= METADATA_SIZE:
            self._flush()
        return reference

    def finish(self) -> bytearray:
        """Return all blocks as stored; nothing may be appended afterwards."""
        if self._pending:
            self._store(bytes(self._pending))
        return self._stored

    def _flush(self) -> None:
        pending = self._pending
        full = len(pending) - len(pending) % METADATA_SIZE
        for start in range(0, full, METADATA_SIZE):
            self._store(bytes(pending[start : start + METADATA_SIZE]))
            self.starts.append(len(self._stored))
        del pending[:full]
        if len(self._stored) > MAX_32:
            raise SquashfsError("a squashfs table would exceed 4 GiB", hint="use fewer files, links or attributes")

    def _store(self, block: bytes) -> None:
        packed = self._compress(block)
        if len(packed) < len(block):
            self._stored += METADATA_HEADER.pack(len(packed)) + packed
        else:
            self._stored += METADATA_HEADER.pack(len(block) | METADATA_UNCOMPRESSED) + block


def indexed_table(records: bytes, position: int, compress: Callable[[bytes], bytes]) -> tuple[bytearray, bytes]:
    """Return a table's metadata blocks, placed at a position of the image, and the index of their starts."""
    stream = MetadataStream(compress)
    stream.append(records)
    blocks = stream.finish()
    count = -(-len(records) // METADATA_SIZE)
    return blocks, struct.pack(f"<{count}Q", *(position + start for start in stream.starts[:count]))
