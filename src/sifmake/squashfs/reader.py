"""Reading squashfs 4.0 without mounting it: names, attributes and file contents, from images nobody vouches for."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.errors import SquashfsError
from sifmake.squashfs import format as fmt
from sifmake.squashfs.inflate import inflater

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIRECTORY, FILE, SYMLINK = 1, 2, 3
MOST_ENTRIES = 10_000_000
_UNCOMPRESSED = 1 << 24
_LARGEST_BLOCK = 1 << 20
_CACHED_BLOCKS = 64
_LAST_PLACE = (1 << 63) - 1
"""The system takes no larger offset."""
_MOST_XATTR_BYTES = 1 << 20
"""Of one node; the kernel lists no more than 64 KiB of names."""


@dataclass(frozen=True)
class Node:
    """One name in the image.

    Attributes:
        path: Without a leading slash; empty for the root.
        kind: Basic inode type, 1 to 7 as squashfs counts them.
        mode: Permission bits.
        uid: Owner.
        gid: Group.
        mtime: Seconds since 1970.
        size: Bytes of a regular file.
        target: Of a symlink.
        device: Device word of a device node, as the kernel packs it.
        number: Inode number; equal for hard links.
        start: Where the first block of a file is.
        blocks: Block words of a file.
        fragment: Number of the fragment block with the tail, or ``NONE_32``.
        offset: Of the tail in it.
        listing: Of a directory: block, offset and size of its entries.
        xattrs: Number of its set of extended attributes, or ``NONE_32``.
    """

    path: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    number: int
    size: int = 0
    target: bytes = b""
    device: int = 0
    start: int = 0
    blocks: tuple[int, ...] = ()
    fragment: int = fmt.NONE_32
    offset: int = 0
    listing: tuple[int, int, int] = (0, 0, 0)
    xattrs: int = fmt.NONE_32


class SquashfsReader:
    """An image behind a function that reads from it.

    Attributes:
        block_size: Bytes of a full block.
    """

    def __init__(self, read_at: Callable[[int, int], bytes]) -> None:
        """Read superblock and id table.

        Args:
            read_at: Returns as many bytes (first argument) from an offset (second), fewer at the end.

        Raises:
            SquashfsError: It is no squashfs 4.0 with gzip or zstd blocks.
        """
        self._read_at = read_at
        self._cache: dict[int, tuple[bytes, int]] = {}
        values = fmt.SUPERBLOCK.unpack(self._exactly(fmt.SUPERBLOCK.size, 0))
        magic, self._inodes, _, self.block_size, self._fragments, compression = values[:6]
        if (magic, values[9:11]) != (fmt.MAGIC, fmt.VERSION) or not 0 < self.block_size <= _LARGEST_BLOCK:
            raise SquashfsError("this is no squashfs 4.0")
        self._inflate = inflater(compression)
        self._root = values[11]
        self._id_table, self._xattr_table, self._inode_table, self._directory_table, self._fragment_table = values[
            13:18
        ]
        self._ids = self._read_ids(values[8])

    def walk(self) -> Iterator[Node]:
        """Yield everything in the image, parents first.

        Raises:
            SquashfsError: The image is damaged.
        """
        seen: set[int] = set()
        stack = [self._inode(b"", self._root >> 16, self._root & 0xFFFF)]
        count = 0
        while stack:
            node = stack.pop()
            yield node
            count += 1
            if count > MOST_ENTRIES:
                raise SquashfsError("there are too many entries")
            if node.kind == DIRECTORY:
                if node.number in seen:
                    raise SquashfsError("a directory stands in itself", where=node.path.decode("utf-8", "replace"))
                seen.add(node.number)
                stack += reversed(list(self._children(node)))

    def chunks(self, node: Node) -> Iterator[bytes]:
        """Yield the bytes of a regular file, block by block.

        Raises:
            SquashfsError: The image is damaged.
        """
        at, left = node.start, node.size
        for word in node.blocks:
            wanted = min(left, self.block_size)
            stored = word & (_UNCOMPRESSED - 1)
            yield self._block(at, word, wanted) if stored else bytes(wanted)
            at, left = at + stored, left - wanted
        if left and node.fragment != fmt.NONE_32:
            tail = self._fragment(node.fragment)[node.offset : node.offset + left]
            yield tail
            left -= len(tail)
        if left:
            raise SquashfsError("a file is shorter than its size", where=node.path.decode("utf-8", "replace"))

    def read_xattrs(self, node: Node) -> dict[bytes, bytes]:
        """Return the extended attributes of a node, by full name.

        Raises:
            SquashfsError: The image is damaged.
        """
        if node.xattrs == fmt.NONE_32 or self._xattr_table == fmt.NONE_64:
            return {}
        entries, total, _ = fmt.XATTR_HEADER.unpack(self._exactly(fmt.XATTR_HEADER.size, self._xattr_table))
        if node.xattrs >= total:
            raise SquashfsError("there is no such set of attributes", where=node.path.decode("utf-8", "replace"))
        block, place = divmod(node.xattrs, fmt.METADATA_SIZE // fmt.XATTR_SET.size)
        at = self._xattr_table + fmt.XATTR_HEADER.size + 8 * block
        (start,) = struct.unpack("<Q", self._exactly(8, at))
        data = self._metadata(start, place * fmt.XATTR_SET.size, fmt.XATTR_SET.size)[0]
        reference, count, _ = fmt.XATTR_SET.unpack(data)
        take = _Taker(self, entries + (reference >> 16), reference & 0xFFFF)
        found: dict[bytes, bytes] = {}
        total = 0
        for _ in range(count):
            name, value = self._xattr(take, entries)
            found[name] = value
            total += len(name) + len(value)
            if total > _MOST_XATTR_BYTES:
                raise SquashfsError("there are too many attributes", where=node.path.decode("utf-8", "replace"))
        return found

    def _xattr(self, take: _Taker, entries: int) -> tuple[bytes, bytes]:
        kind, length = take(fmt.XATTR_ENTRY)
        name = take.bytes(length)
        (size,) = take(fmt.XATTR_SIZE)
        if kind & fmt.XATTR_OUT_OF_LINE:
            (reference,) = take(_PLACE)
            take = _Taker(self, entries + (reference >> 16), reference & 0xFFFF)
            (size,) = take(fmt.XATTR_SIZE)
        prefix = _XATTR_PREFIXES.get(kind & ~fmt.XATTR_OUT_OF_LINE)
        if prefix is None or size > fmt.MAX_XATTR_VALUE:
            raise SquashfsError("an extended attribute is of no known kind, or too large")
        return prefix + name, take.bytes(size)

    def _children(self, folder: Node) -> Iterator[Node]:
        block, offset, size = folder.listing
        data = self._metadata(self._directory_table + block, offset, size)[0] if size else b""
        at = 0
        try:
            while at < len(data):
                count, start, _ = fmt.DIRECTORY_HEADER.unpack_from(data, at)
                at += fmt.DIRECTORY_HEADER.size
                for _ in range(count + 1):
                    inode, _, _, length = fmt.DIRECTORY_ENTRY.unpack_from(data, at)
                    at += fmt.DIRECTORY_ENTRY.size + length + 1
                    name = data[at - length - 1 : at]
                    yield self._inode(b"/".join(part for part in (folder.path, name) if part), start, inode)
        except struct.error:
            raise SquashfsError("a directory is damaged", where=folder.path.decode("utf-8", "replace")) from None

    def _inode(self, path: bytes, block: int, offset: int) -> Node:
        take = _Taker(self, self._inode_table + block, offset)
        kind, mode, uid, gid, mtime, number = take(_COMMON)
        try:
            common = (mode & 0o7777, self._ids[uid], self._ids[gid], mtime, number)
        except IndexError:
            raise SquashfsError("an owner is not in the id table") from None
        if kind in (fmt.EXTENDED + FILE, FILE):
            return self._file(path, common, take, extended=kind != FILE)
        if kind in (fmt.EXTENDED + DIRECTORY, DIRECTORY):
            listing, xattrs = _listing(take, extended=kind != DIRECTORY)
            return Node(path, DIRECTORY, *common, listing=listing, xattrs=xattrs)
        if kind in (fmt.EXTENDED + SYMLINK, SYMLINK):
            _, length = take(_TWO)
            if length > fmt.METADATA_SIZE:
                raise SquashfsError("a symlink is too long")
            target = take.bytes(length)
            return Node(path, SYMLINK, *common, target=target, xattrs=_last(take, extended=kind != SYMLINK))
        if not 0 < kind <= 2 * fmt.EXTENDED:
            raise SquashfsError(f"there is no inode type {kind}")
        basic = (kind - 1) % fmt.EXTENDED + 1
        _, device = take(_TWO) if basic in _DEVICES else (*take(_ONE), 0)
        return Node(path, basic, *common, device=device, xattrs=_last(take, extended=kind != basic))

    def _file(self, path: bytes, common: tuple[int, ...], take: _Taker, *, extended: bool) -> Node:
        if extended:
            start, size, _, _, fragment, offset, xattrs = take(_EXTENDED_FILE)
        else:
            start, fragment, offset, size = take(_FILE)
            xattrs = fmt.NONE_32
        count = size // self.block_size if fragment != fmt.NONE_32 else -(-size // self.block_size)
        if count > 1 << 24:
            raise SquashfsError("a file is too large", where=path.decode("utf-8", "replace"))
        blocks = struct.unpack(f"<{count}I", take.bytes(4 * count))
        mode, uid, gid, mtime, number = common
        return Node(
            path, FILE, mode, uid, gid, mtime, number, size,
            start=start, blocks=blocks, fragment=fragment, offset=offset, xattrs=xattrs,
        )  # fmt: skip

    def _read_ids(self, count: int) -> tuple[int, ...]:
        data = self._table(self._id_table, 4 * count)
        return struct.unpack(f"<{count}I", data)

    def _fragment(self, number: int) -> bytes:
        if number >= self._fragments:
            raise SquashfsError("there is no such fragment block")
        per_block = fmt.METADATA_SIZE // fmt.FRAGMENT.size
        (block,) = struct.unpack("<Q", self._exactly(8, self._fragment_table + number // per_block * 8))
        entry = self._metadata(block, number % per_block * fmt.FRAGMENT.size, fmt.FRAGMENT.size)[0]
        start, word, _ = fmt.FRAGMENT.unpack(entry)
        return self._block(start, word, self.block_size)

    def _table(self, place: int, size: int) -> bytes:
        """Return a table whose metadata blocks are listed by their places."""
        count = -(-size // fmt.METADATA_SIZE)
        places = struct.unpack(f"<{count}Q", self._exactly(8 * count, place))
        return b"".join(self._metadata_block(block)[0] for block in places)[:size]

    def _metadata(self, place: int, offset: int, size: int) -> tuple[bytes, int, int]:
        """Return bytes that may go over several metadata blocks, and the place behind them."""
        parts = []
        while True:
            data, following = self._metadata_block(place)
            part = data[offset : offset + size]
            parts.append(part)
            size -= len(part)
            offset += len(part)
            if not size:
                return b"".join(parts), place, offset
            if not part and not data:
                raise SquashfsError("a table ends too early")
            place, offset = following, 0

    def _metadata_block(self, place: int) -> tuple[bytes, int]:
        found = self._cache.get(place)
        if found is None:
            (header,) = fmt.METADATA_HEADER.unpack(self._exactly(2, place))
            size = header & (fmt.METADATA_UNCOMPRESSED - 1)
            data = self._exactly(size, place + 2)
            if not header & fmt.METADATA_UNCOMPRESSED:
                data = self._inflate(data, fmt.METADATA_SIZE)
            if len(self._cache) >= _CACHED_BLOCKS:
                del self._cache[next(iter(self._cache))]
            found = self._cache[place] = data, place + 2 + size
        return found

    def _block(self, place: int, word: int, wanted: int) -> bytes:
        data = self._exactly(min(word & (_UNCOMPRESSED - 1), _LARGEST_BLOCK), place)
        return data[:wanted] if word & _UNCOMPRESSED else self._inflate(data, self.block_size)[:wanted]

    def _exactly(self, size: int, place: int) -> bytes:
        data = self._read_at(size, place) if place <= _LAST_PLACE else b""
        if len(data) != size:
            raise SquashfsError("the image ends too early")
        return data


class _Taker:
    """Takes structures one after another from the inode table."""

    def __init__(self, reader: SquashfsReader, place: int, offset: int) -> None:
        self._reader = reader
        self._place = place
        self._offset = offset

    def __call__(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.bytes(form.size))

    def bytes(self, size: int) -> bytes:
        data, self._place, self._offset = self._reader._metadata(self._place, self._offset, size)  # noqa: SLF001
        return data


_COMMON = struct.Struct("<4H2I")
_FILE = struct.Struct("<4I")
_EXTENDED_FILE = struct.Struct("<3Q4I")
_DIRECTORY = struct.Struct("<2I2HI")
_EXTENDED_DIRECTORY = struct.Struct("<4I2HI")
_ONE = struct.Struct("<I")
_TWO = struct.Struct("<2I")
_PLACE = struct.Struct("<Q")
_DEVICES = (4, 5)
"""Basic inode types of block and character devices."""
_XATTR_PREFIXES = {number: prefix for prefix, number in fmt.XATTR_PREFIXES.items()}


def _listing(take: _Taker, *, extended: bool) -> tuple[tuple[int, int, int], int]:
    xattrs = fmt.NONE_32
    if extended:
        _, size, block, _, _, offset, xattrs = take(_EXTENDED_DIRECTORY)
    else:
        block, _, size, offset, _ = take(_DIRECTORY)
    return (block, offset, max(size - fmt.DIRECTORY_EXTRA, 0)), xattrs


def _last(take: _Taker, *, extended: bool) -> int:
    """Return the number of the attributes, which ends extended inodes."""
    return take(_ONE)[0] if extended else fmt.NONE_32
