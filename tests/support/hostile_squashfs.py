"""Squashfs images as no packer writes them: every table by hand, in a SIF file."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import TYPE_CHECKING

from sifmake.sif import PARTITION_ALIGNMENT, DataType, FsType, NewObject, PartType, partition_extra, plan
from sifmake.squashfs import format as fmt

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DIRECTORY, FILE, SYMLINK, FIFO = 1, 2, 3, 6
BLOCK = 131072


def common(kind: int, number: int) -> bytes:
    """Return what all inodes begin with."""
    return struct.pack("<4H2I", kind, 0o755, 0, 0, 0, number)


def file_inode(
    number: int, size: int, words: Iterable[int] = (), start: int = 96, tail: tuple[int, int] = (-1, 0)
) -> bytes:
    """Return an extended inode of a regular file; the tail is fragment block and offset."""
    head = struct.pack("<3Q4I", start, size, 0, 1, tail[0] & fmt.NONE_32, tail[1], fmt.NONE_32)
    words = list(words)
    return common(FILE + fmt.EXTENDED, number) + head + struct.pack(f"<{len(words)}I", *words)


def symlink_inode(number: int, target: bytes, length: int | None = None) -> bytes:
    """Return the inode of a symlink, with another length than its target's if that is given."""
    return common(SYMLINK, number) + struct.pack("<2I", 1, len(target) if length is None else length) + target


def folder_inode(
    number: int, place: tuple[int, int], size: int, records: Iterable[bytes] = (), xattrs: int = fmt.NONE_32
) -> bytes:
    """Return the extended inode of a directory whose listing is at a place: block and offset."""
    records = list(records)
    head = struct.pack("<4I2HI", 2, size + 3, place[0], 0, len(records), place[1], xattrs)
    return common(DIRECTORY + fmt.EXTENDED, number) + head + b"".join(records)


def run(entries: Iterable[tuple[bytes, int, int, int]]) -> bytes:
    """Return directory headers with entries: name, reference, number and kind."""
    found = []
    for block, together in groupby(entries, lambda entry: entry[1] >> 16):
        while some := list(islice(together, 256)):
            base = some[0][2]
            found.append(struct.pack("<3I", len(some) - 1, block, base))
            for name, place, number, kind in some:
                found.append(struct.pack("<HhHH", place & 0xFFFF, number - base, kind, len(name) - 1) + name)
    return b"".join(found)


def reference(offset: int) -> int:
    """Return the reference of an inode by its offset in the inode table, whose blocks are not compressed."""
    block, rest = divmod(offset, fmt.METADATA_SIZE)
    return block * (fmt.METADATA_SIZE + 2) << 16 | rest


@dataclass
class Hostile:
    """An image that grows.

    Attributes:
        inodes: The inode table, inflated; it is stored as it is.
        listings: The directory table, inflated.
        data: What lies between superblock and tables.
        fragments: Start and word of each fragment block.
        root: Reference of the root's inode.
        squeeze: Whether listings are compressed; then listings behind the first block cannot be referred to.
        block_log: Size of blocks, log2.
        ids: Rows in the table of owners.
        xattrs: Entries and sets of extended attributes, inflated.
    """

    inodes: bytearray = field(default_factory=bytearray)
    listings: bytearray = field(default_factory=bytearray)
    data: bytes = b""
    fragments: list[tuple[int, int]] = field(default_factory=list)
    root: int = 0
    squeeze: bool = False
    block_log: int = 17
    ids: int = 1
    xattrs: tuple[bytes, bytes] | None = None

    def inode(self, data: bytes) -> int:
        """Add an inode and return its reference."""
        offset = len(self.inodes)
        self.inodes += data
        return reference(offset)

    def listing(self, data: bytes) -> tuple[int, int]:
        """Add a listing and return its block and offset."""
        block, rest = divmod(len(self.listings), fmt.METADATA_SIZE)
        self.listings += data
        return block * (fmt.METADATA_SIZE + 2), rest

    def folder(self, number: int, listing: bytes, records: Iterable[bytes] = (), xattrs: int = fmt.NONE_32) -> int:
        """Add a listing and the inode of its directory, which becomes the root; return the inode's reference."""
        self.root = self.inode(folder_inode(number, self.listing(listing), len(listing), records, xattrs))
        return self.root

    def image(self) -> bytes:
        """Return the bytes of the squashfs."""
        parts = bytearray(bytes(96) + self.data)
        places = {}
        for name, table, squeeze in (("inodes", self.inodes, False), ("listings", self.listings, self.squeeze)):
            places[name] = len(parts)
            parts += metadata(bytes(table), squeeze=squeeze)
        fragments = b"".join(struct.pack("<QII", *row, 0) for row in self.fragments)
        places["fragments"] = add_table(parts, fragments)
        places["ids"] = add_table(parts, bytes(4 * self.ids))
        places["xattrs"] = fmt.NONE_64
        if self.xattrs:
            entries, sets = self.xattrs
            start = len(parts)
            parts += metadata(entries)
            at = len(parts)
            parts += metadata(sets)
            places["xattrs"] = len(parts)
            parts += struct.pack("<Q2I", start, len(sets) // 16, 0)
            parts += b"".join(struct.pack("<Q", at + n * 8194) for n in range(-(-len(sets) // 8192)))
        parts[:96] = fmt.SUPERBLOCK.pack(
            *(fmt.MAGIC, 1, 0, 1 << self.block_log, len(self.fragments), 1, self.block_log, fmt.FLAGS, self.ids, 4, 0),
            *(self.root, len(parts), places["ids"], places["xattrs"], places["inodes"], places["listings"]),
            *(places["fragments"], fmt.NONE_64),
        )
        return bytes(parts) + bytes(-len(parts) % 4096)

    def sif(self, path: Path) -> Path:
        """Write a SIF file around the image."""
        return sif_around(path, self.image())


def metadata(table: bytes, *, squeeze: bool = False) -> bytes:
    """Return a table as metadata blocks."""
    parts = []
    for at in range(0, len(table), fmt.METADATA_SIZE):
        block = table[at : at + fmt.METADATA_SIZE]
        small = zlib.compress(block, 9) if squeeze else block
        parts.append(struct.pack("<H", len(small) | (0 if squeeze else fmt.METADATA_UNCOMPRESSED)) + small)
    return b"".join(parts)


def add_table(parts: bytearray, rows: bytes) -> int:
    """Add blocks of rows and the list of their places; return where the list stands."""
    places = []
    for at in range(0, len(rows), fmt.METADATA_SIZE):
        places.append(len(parts))
        parts += metadata(rows[at : at + fmt.METADATA_SIZE])
    start = len(parts)
    parts += struct.pack(f"<{len(places)}Q", *places)
    return start


def sif_around(path: Path, image: bytes) -> Path:
    """Write a SIF file whose root file system is an image."""
    extra = partition_extra(FsType.SQUASHFS, PartType.PRIMARY_SYSTEM, "amd64")
    item = NewObject(DataType.PARTITION, len(image), alignment=PARTITION_ALIGNMENT, extra=extra)
    layout = plan([item], arch="amd64")
    path.write_bytes(layout.head.ljust(layout.offsets[0], b"\0") + image)
    return path
