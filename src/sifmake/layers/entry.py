"""What one tar entry of a layer says, and what an image's tree is made of.

Entries are stored in the index of a layer pack and become, without a copy, the inodes of the flattened tree.
"""

from __future__ import annotations

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
"""Kinds 1 to 7 are inodes and carry squashfs's numbers; 8 to 10 are instructions to the flattening."""


class Entry(msgspec.Struct, array_like=True, gc=False):
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
        content: Index into the pack's contents; -1 for an empty file and for all that is no file.
        target: Text of a symlink as it stands; of a hard link the normalised path that it points to.
        major: Device number of a device node.
        minor: Device number of a device node.
        xattrs: Names (with prefix) and values, sorted by name.
    """

    path: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    content: int = -1
    target: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


class Inode(Entry, array_like=True, gc=False):
    """An entry that has its place in a tree.

    A file with several hard links is one object under several names. ``path`` is the name it came with.

    Attributes:
        layer: Number of the pack that ``content`` counts in.
        children: Of a directory: names to inodes; None for everything else.
        number: Squashfs inode number, set when the image is written.
        links: While layers are merged: above zero when a hard link may have given it further names. Set to the count
            of names when the image is written.
        ref: Squashfs inode reference, set when the image is written.
    """

    layer: int = 0
    children: dict[bytes, Inode] | None = None
    number: int = 0
    links: int = 0
    ref: int = -1


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

    sha256: bytes
    size: int
    start: int
    stored: int
    blocks: bytes
    fragment: int = -1
    offset: int = 0
    sparse: int = 0
