"""The superblock and tables of an untrusted image, read within a budget."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import SquashfsError
from sifmake.squashfs import format as fmt
from sifmake.squashfs.budget import Budget
from sifmake.squashfs.inflate import inflater

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.limits import Limits

_CACHED_BLOCKS = 1024
_LAST_PLACE = (1 << 63) - 1
"""The largest offset that the system accepts."""
_SMALLEST_BLOCK = 1 << 12
_LARGEST_BLOCK = 1 << 20
"""Smallest and largest block size of squashfs; sizes are powers of two."""


class _Superblock(NamedTuple):
    """The first 96 bytes, in the order of ``struct squashfs_super_block``."""

    magic: int
    inodes: int
    mkfs_time: int
    block_size: int
    fragments: int
    compression: int
    block_log: int
    flags: int
    ids: int
    major: int
    minor: int
    root: int
    bytes_used: int
    id_table: int
    xattr_table: int
    inode_table: int
    directory_table: int
    fragment_table: int
    export_table: int


class StoredImage:
    """A squashfs image, read through a function.

    Attributes:
        head: The superblock.
        inflate: Inflates a block; takes its bytes and the largest allowed result.
        budget: What reading may still cost.
    """

    def __init__(self, read_at: Callable[[int, int], bytes], limits: Limits) -> None:
        """Read and check the superblock.

        Args:
            read_at: Returns as many bytes (first argument) from an offset (second), fewer at the end.
            limits: Bounds on what reading may cost.

        Raises:
            SquashfsError: It is not a squashfs 4.0 with gzip or zstd blocks.
        """
        self._read_at = read_at
        self._cache: dict[int, tuple[bytes, int]] = {}
        data = read_at(fmt.SUPERBLOCK.size, 0)
        if len(data) != fmt.SUPERBLOCK.size:
            raise SquashfsError("the image ends too early")
        self.head = _Superblock(*fmt.SUPERBLOCK.unpack(data))
        _check(self.head)
        self.inflate = inflater(self.head.compression, self.head.block_size)
        self.exactly(1, self.head.bytes_used - 1)
        self.budget = Budget(limits, self.head.bytes_used)

    def exactly(self, size: int, place: int) -> bytes:
        """Return bytes at a place of the image.

        Raises:
            SquashfsError: They extend beyond the image's end.
        """
        if place + size > min(self.head.bytes_used, _LAST_PLACE):
            raise SquashfsError("a position is after the end of the image")
        data = self._read_at(size, place)
        if len(data) != size:
            raise SquashfsError("the image ends too early")
        return data

    def metadata_block(self, place: int) -> tuple[bytes, int]:
        """Return the content of a metadata block and the place after it."""
        found = self._cache.get(place)
        if found is None:
            (header,) = fmt.METADATA_HEADER.unpack(self.exactly(2, place))
            size = header & (fmt.METADATA_UNCOMPRESSED - 1)
            data = self.exactly(size, place + 2)
            if not header & fmt.METADATA_UNCOMPRESSED:
                data = self.inflate(data, fmt.METADATA_SIZE)
            if not 0 < len(data) <= fmt.METADATA_SIZE:
                raise SquashfsError("a metadata block is damaged")
            self.budget.count_table(fmt.METADATA_SIZE)
            if len(self._cache) >= _CACHED_BLOCKS:
                del self._cache[next(iter(self._cache))]
            found = self._cache[place] = data, place + 2 + size
        return found

    def row(self, table: int, number: int, form: struct.Struct) -> tuple[int, ...]:
        """Return a row of a table whose metadata blocks have an index of their starts."""
        block, index = divmod(number, fmt.METADATA_SIZE // form.size)
        (place,) = _PLACE.unpack(self.exactly(_PLACE.size, table + _PLACE.size * block))
        return Cursor(self, place, index * form.size).take(form)

    def ids(self) -> tuple[int, ...]:
        """Return the table of owners and groups."""
        size = 4 * self.head.ids
        count = -(-size // fmt.METADATA_SIZE)
        places = struct.unpack(f"<{count}Q", self.exactly(_PLACE.size * count, self.head.id_table))
        data = b"".join(self.metadata_block(place)[0] for place in places)
        if len(data) != size:
            raise SquashfsError("the table of owners is damaged")
        return struct.unpack(f"<{self.head.ids}I", data)


class Cursor:
    """Reads consecutive structures from consecutive metadata blocks."""

    __slots__ = ("_data", "_image", "_next", "offset", "place")

    def __init__(self, image: StoredImage, place: int, offset: int) -> None:
        """Start at an offset in the metadata block at a place; SquashfsError if the block does not reach that far.

        At the very end of a full block, reading continues in the next one.
        """
        self._image = image
        self.place = place
        self.offset = offset
        self._data, self._next = image.metadata_block(place)
        if offset >= len(self._data) and offset != fmt.METADATA_SIZE:
            raise SquashfsError("a reference leads beyond its metadata block")

    def settle(self) -> None:
        """Continue with the next block if this one is used up."""
        if self.offset == len(self._data):
            if self.offset != fmt.METADATA_SIZE:
                raise SquashfsError("a table ends too early")
            self.place, self.offset = self._next, 0
            self._data, self._next = self._image.metadata_block(self.place)

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        """Return the fields of the next structure."""
        end = self.offset + form.size
        if end <= len(self._data):
            values = form.unpack_from(self._data, self.offset)
            self.offset = end
            return values
        return form.unpack(self.bytes(form.size))

    def bytes(self, size: int) -> bytes:
        """Return the next bytes."""
        end = self.offset + size
        if end <= len(self._data):
            data = self._data[self.offset : end]
            self.offset = end
            return data
        parts = []
        while size:
            self.settle()
            part = self._data[self.offset : self.offset + size]
            self.offset += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)


_PLACE = struct.Struct("<Q")


def _check(head: _Superblock) -> None:
    if (head.magic, head.major, head.minor) != (fmt.MAGIC, *fmt.VERSION):
        raise SquashfsError("not a squashfs 4.0 file system")
    if not _SMALLEST_BLOCK <= head.block_size <= _LARGEST_BLOCK or head.block_size != 1 << min(head.block_log, 32):
        raise SquashfsError(f"blocks cannot have {head.block_size} bytes")
    tables = (head.inode_table, head.directory_table, head.fragment_table, head.export_table)
    places = [place for place in (*tables, head.id_table, head.xattr_table) if place != fmt.NONE_64]
    ends = [fmt.SUPERBLOCK.size, *places, head.bytes_used]
    if any(before > after for before, after in pairwise(ends)):
        raise SquashfsError("the tables are out of order or after the end of the image")
