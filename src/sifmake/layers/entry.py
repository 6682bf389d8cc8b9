"""One tar entry of a layer, and the inodes that an image's tree is made of.

Entries are stored in the index of a layer pack and become the inodes of the flattened tree without being copied.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

DIR = 1
FILE = 2
SYMLINK = 3
BLOCK = 4
CHAR = 5
FIFO = 6
SOCKET = 7
HARDLINK = 8
WHITEOUT = 9
OPAQUE = 10
"""Kinds 1 to 7 are inodes and have squashfs's numbers; kinds 8 to 10 are instructions for flattening."""

LARGEST = (1 << 62) - 1
"""Bound on sizes and offsets that are read back: the sum of two still fits into the largest offset of the operating
system.
"""

# Enforced while decoding, so that damaged or hostile numbers never reach code that packs them or uses them as indexes.
Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
Number32 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
NumberOrNone = Annotated[int, msgspec.Meta(ge=-1, le=LARGEST)]
# Fields that an index does not store: a pack that has them anyway may only repeat the default, or an empty dict.
Unset = Annotated[int, msgspec.Meta(ge=0, le=0)]
_NO_DICT = msgspec.Meta(min_length=LARGEST)


class Entry(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """One entry of a layer in tar order.

    Attributes:
        path: Normalised: no leading slash, no ``.``, ``..`` or empty component; empty for the root. Of a
            whiteout: the path that it hides; of an opaque marker: its directory.
        kind: One of this module's constants.
        mode: Permission bits with setuid, setgid and sticky, 12 bits.
        uid: Numeric owner.
        gid: Numeric group.
        mtime: Seconds since 1970, rounded down; may be negative or huge.
        size: Logical size in bytes of a regular file.
        content: Index into the pack's contents; -1 for an empty file and for entries that are not files.
        target: Text of a symlink as it stands; of a hard link the normalised path that it points to.
        major: Device number of a device node.
        minor: Device number of a device node.
        xattrs: Names (with prefix) and values, sorted by name.
    """

    path: bytes
    kind: Annotated[int, msgspec.Meta(ge=DIR, le=OPAQUE)]
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
    uid: Number32
    gid: Number32
    mtime: int
    size: Number = 0
    content: NumberOrNone = -1
    target: bytes = b""
    major: Number32 = 0
    minor: Number32 = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


class Inode(Entry, array_like=True, gc=False):
    """An entry at its place in a tree.

    A file with several hard links is one object under several names. ``path`` is a directory's path; in a tree it is
    of all else only the last part of the name it came with, since a million paths take more memory than their names.

    Attributes:
        layer: Number of the pack that ``content`` counts in.
        children: Of a directory: names to inodes; None for everything else.
        number: Squashfs inode number of a directory and of what has several names, set when the image is written.
        links: While layers are merged: above zero when a hard link may have given it further names. Set to the count
            of names when the image is written.
    """

    layer: Unset = 0
    children: Annotated[dict[bytes, Inode], _NO_DICT] | None = None
    number: Unset = 0
    links: Unset = 0


class Content(msgspec.Struct, array_like=True, gc=False):
    """Where a pack keeps the bytes of one file.

    Attributes:
        sha256: Digest of the file's logical bytes.
        size: Logical size in bytes, above zero.
        start: Offset of the first full block in the pack's data region.
        stored: Compressed bytes of all full blocks together.
        blocks: One little-endian 32-bit word per full block, as squashfs has them: stored size, bit 24 set when
            not compressed, zero for a block of zeros.
        fragment: Number of the pack's fragment block that holds the tail; -1 when there is no tail.
        offset: Offset of the tail in the uncompressed fragment block.
        sparse: Bytes in blocks of zeros.
    """

    sha256: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    size: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
    start: Number
    stored: Number
    blocks: bytes
    fragment: NumberOrNone = -1
    offset: Number = 0
    sparse: Number = 0
