"""The directory table: listings in runs that share a metadata block of inodes, with an index where they are long."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sifmake.squashfs.format import (
    DIRECTORY_ENTRY,
    DIRECTORY_HEADER,
    DIRECTORY_INDEX,
    DIRECTORY_RUN,
    MAX_INDEXES,
    METADATA_SIZE,
)
from sifmake.squashfs.metadata import MetadataStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sifmake.layers.entry import Inode


class Listing(NamedTuple):
    """Where a directory's listing stands and how to jump into it.

    Attributes:
        start: Start of its first metadata block in the directory table.
        offset: Offset in that block.
        size: Its uncompressed bytes.
        jumps: Number of places that can be jumped to.
        jump_records: The index records of these places.
    """

    start: int
    offset: int
    size: int
    jumps: int
    jump_records: bytes


_EMPTY = Listing(0, 0, 0, 0, b"")


class DirectoryTable:
    """Writes listings one by one; every inode in them must have its place, or gets it on the way."""

    def __init__(self, compress: Callable[[bytes], bytes], writers: Mapping[int, Callable[[Inode], int]]) -> None:
        self.stream = MetadataStream(compress)
        self._writers = writers

    def write(self, children: dict[bytes, Inode], names: list[bytes]) -> Listing:
        """Append the listing of one directory, and the inodes of its children that are not written yet.

        A run ends after 256 entries, where the next inode is in another metadata block or its number is too far
        off, and where the listing goes on in a new metadata block: there the index points to.
        """
        if not names:
            return _EMPTY
        position = self.stream.position
        listing = bytearray()
        jumps: list[tuple[int, bytes]] = []
        boundary = METADATA_SIZE - position % METADATA_SIZE
        head = run_block = base = -1
        count = DIRECTORY_RUN
        pack, pack_header, writers = DIRECTORY_ENTRY.pack, DIRECTORY_HEADER.pack_into, self._writers
        for name in names:
            child = children[name]
            reference = child.ref
            if reference < 0:
                child.ref = reference = writers[child.kind](child)
            number, block, here = child.number, reference >> 16, len(listing)
            if count == DIRECTORY_RUN or block != run_block or here >= boundary or not -32768 <= number - base < 32768:
                if head >= 0:
                    pack_header(listing, head, count - 1, run_block, base)
                if here >= boundary:
                    jumps.append((here, name))
                    boundary += (here - boundary) // METADATA_SIZE * METADATA_SIZE + METADATA_SIZE
                head, run_block, base, count = here, block, number, 0
                listing += bytes(DIRECTORY_HEADER.size)
            listing += pack(reference & 0xFFFF, number - base, child.kind, len(name) - 1) + name
            count += 1
        pack_header(listing, head, count - 1, run_block, base)
        return self._append(listing, jumps)

    def _append(self, listing: bytearray, jumps: list[tuple[int, bytes]]) -> Listing:
        stream = self.stream
        position = stream.position
        reference = stream.append(listing)
        starts = stream.starts
        jumps = jumps[:MAX_INDEXES]
        records = b"".join(
            DIRECTORY_INDEX.pack(offset, starts[(position + offset) // METADATA_SIZE], len(name) - 1) + name
            for offset, name in jumps
        )
        return Listing(reference >> 16, reference & 0xFFFF, len(listing), len(jumps), records)
