"""The directory table: listings in runs that share a metadata block of inodes, with an index if they are long."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sifmake.squashfs.format import (
    DIRECTORY_ENTRY,
    DIRECTORY_HEADER,
    DIRECTORY_INDEX,
    DIRECTORY_RUN,
    MAX_INDEXES,
    METADATA_SIZE,
    NONE_64,
)
from sifmake.squashfs.metadata import MetadataStream

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Mapping

    from sifmake.layers.entry import Inode
    from sifmake.squashfs.survey import Directory


class WrittenListing(NamedTuple):
    """Where a directory's listing is and how to jump into it.

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


_EMPTY = WrittenListing(0, 0, 0, 0, b"")


class DirectoryTable:
    """Writes listings one by one; every inode in a listing must have its place already, or gets it meanwhile."""

    def __init__(
        self,
        compress: Callable[[bytes], bytes],
        writers: Mapping[int, Callable[[Inode, int], int]],
        references: array[int],
    ) -> None:
        """Begin an empty table.

        Args:
            compress: Compresses one metadata block.
            writers: For each kind, the function that appends the inode with a number and returns its reference.
            references: The inodes' references by number; filled while writing.
        """
        self.stream = MetadataStream(compress)
        self._writers = writers
        self._references = references

    def write(self, directory: Directory) -> WrittenListing:
        """Append the listing of one directory, and the inodes of its children that are not written yet.

        A run ends after 256 entries, where the next inode is in another metadata block or its number is too far away,
        and where the listing continues in a new metadata block; the index points to the last kind.
        """
        names, children, following = directory.names, directory.inode.children or {}, directory.first
        if not names:
            return _EMPTY
        position = self.stream.position
        listing = bytearray()
        jumps: list[tuple[int, bytes]] = []
        boundary = METADATA_SIZE - position % METADATA_SIZE
        head = run_block = base = -1
        count = DIRECTORY_RUN
        pack, pack_header = DIRECTORY_ENTRY.pack, DIRECTORY_HEADER.pack_into
        writers, references = self._writers, self._references
        for name in names:
            child = children[name]
            number = child.number
            if number and number != following:
                reference = references[number]
            else:  # this is its only or first name
                number = following
                following += 1
                reference = references[number]
            if reference == NONE_64:
                references[number] = reference = writers[child.kind](child, number)
            block, here = reference >> 16, len(listing)
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

    def _append(self, listing: bytearray, jumps: list[tuple[int, bytes]]) -> WrittenListing:
        stream = self.stream
        position = stream.position
        reference = stream.append(listing)
        starts = stream.starts
        jumps = jumps[:MAX_INDEXES]
        records = b"".join(
            DIRECTORY_INDEX.pack(offset, starts[(position + offset) // METADATA_SIZE], len(name) - 1) + name
            for offset, name in jumps
        )
        return WrittenListing(reference >> 16, reference & 0xFFFF, len(listing), len(jumps), records)
