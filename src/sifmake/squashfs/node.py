"""A name in an image, and its inode."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import SquashfsError
from sifmake.squashfs import format as fmt
from sifmake.squashfs.stored import Cursor

if TYPE_CHECKING:
    from sifmake.squashfs.stored import StoredImage

DIRECTORY, FILE, SYMLINK = 1, 2, 3


class Listing(NamedTuple):
    """Where the entries of a directory are.

    Attributes:
        block: Start of the first metadata block in the directory table.
        offset: Offset in it.
        size: Bytes of all entries with their headers.
        jumps: Records of the index that Linux jumps by.
        records: Place and offset of these records.
    """

    block: int = 0
    offset: int = 0
    size: int = 0
    jumps: int = 0
    records: tuple[int, int] = (0, 0)


class Node(NamedTuple):
    """A name in the image.

    Attributes:
        path: Without a leading slash; empty for the root.
        kind: Basic inode type, 1 to 7 as squashfs counts them.
        mode: Permission bits.
        uid: Owner.
        gid: Group.
        mtime: Seconds since 1970.
        number: Inode number; no two inodes of an image have the same.
        reference: Where the inode is: metadata block and offset. Equal only for hard links to the same inode.
        size: Bytes of a regular file.
        target: Of a symlink.
        device: Device word of a device node, as the kernel packs it.
        start: Where the first block of a file is.
        words: Where the block words of a file are: metadata block, shifted left by 16, and offset.
        fragment: Number of the fragment block with the tail, or ``NONE_32``.
        offset: Of the tail in it.
        listing: Of a directory.
        xattrs: Number of its set of extended attributes, or ``NONE_32``.
    """

    path: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    number: int
    reference: int
    size: int = 0
    target: bytes = b""
    device: int = 0
    start: int = 0
    words: int = 0
    fragment: int = fmt.NONE_32
    offset: int = 0
    listing: Listing = Listing()
    xattrs: int = fmt.NONE_32

    @property
    def where(self) -> str:
        """The path, for messages."""
        return "/" + self.path.decode("utf-8", "backslashreplace")


def read_inode(image: StoredImage, ids: tuple[int, ...], path: bytes, reference: int) -> Node:
    """Return the inode at a reference under a path.

    Raises:
        SquashfsError: It is damaged, or beyond a limit.
    """
    offset = reference & 0xFFFF
    if offset >= fmt.METADATA_SIZE:
        raise SquashfsError("a reference leads beyond its metadata block")
    cursor = Cursor(image, image.head.inode_table + (reference >> 16), offset)
    kind, mode, uid, gid, mtime, number = cursor.take(_COMMON)
    if uid >= len(ids) or gid >= len(ids):
        raise SquashfsError("an owner is not in the id table")
    if not 0 < kind <= 2 * fmt.EXTENDED:
        raise SquashfsError(f"there is no inode type {kind}")
    basic, extended = (kind - 1) % fmt.EXTENDED + 1, kind > fmt.EXTENDED
    head = path, basic, mode & 0o7777, ids[uid], ids[gid], mtime, number, reference
    if basic == FILE:
        return _file(head, image, cursor, extended=extended)
    if basic == DIRECTORY:
        return _directory(head, cursor, extended=extended)
    if basic == SYMLINK:
        return _symlink(head, cursor, extended=extended)
    _, device = cursor.take(_TWO) if basic in _DEVICES else (*cursor.take(_ONE), 0)
    return Node(*head, device=device, xattrs=_last(cursor, extended=extended))


def _file(head: _Head, image: StoredImage, cursor: Cursor, *, extended: bool) -> Node:
    xattrs = fmt.NONE_32
    if extended:
        start, size, _, _, fragment, offset, xattrs = cursor.take(_EXTENDED_FILE)
    else:
        start, fragment, offset, size = cursor.take(_FILE)
    image.budget.check_file(size)
    words = cursor.place << 16 | cursor.offset
    # By position, because an image may have hundreds of thousands of files.
    return Node(*head, size, b"", 0, start, words, fragment, offset, _NO_LISTING, xattrs)


def _directory(head: _Head, cursor: Cursor, *, extended: bool) -> Node:
    jumps, xattrs = 0, fmt.NONE_32
    if extended:
        _, size, block, _, jumps, offset, xattrs = cursor.take(_EXTENDED_DIRECTORY)
    else:
        block, _, size, offset, _ = cursor.take(_DIRECTORY)
    size = max(size - fmt.DIRECTORY_EXTRA, 0)
    return Node(*head, listing=Listing(block, offset, size, jumps, (cursor.place, cursor.offset)), xattrs=xattrs)


def _symlink(head: _Head, cursor: Cursor, *, extended: bool) -> Node:
    _, length = cursor.take(_TWO)
    if not 0 < length <= fmt.MAX_SYMLINK:
        what = f"a symlink's target has {length} bytes, {fmt.MAX_SYMLINK} are allowed"
        raise SquashfsError(what, where=Node(*head).where)
    target = cursor.bytes(length)
    if target.find(b"\0") >= 0:
        raise SquashfsError("a symlink's target has a zero byte", where=Node(*head).where)
    return Node(*head, 0, target, xattrs=_last(cursor, extended=extended))


def _last(cursor: Cursor, *, extended: bool) -> int:
    """Return the number of the attribute set, the last field of extended inodes."""
    return cursor.take(_ONE)[0] if extended else fmt.NONE_32


_Head = tuple[bytes, int, int, int, int, int, int, int]
"""The fields of a node up to the reference."""
_NO_LISTING = Listing()
_COMMON = struct.Struct("<4H2I")
_FILE = struct.Struct("<4I")
_EXTENDED_FILE = struct.Struct("<3Q4I")
_DIRECTORY = struct.Struct("<2I2HI")
_EXTENDED_DIRECTORY = struct.Struct("<4I2HI")
_ONE = struct.Struct("<I")
_TWO = struct.Struct("<2I")
_DEVICES = (4, 5)
"""Basic inode types of block and character devices."""
