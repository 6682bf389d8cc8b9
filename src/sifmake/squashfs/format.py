"""Numbers and structures of squashfs 4.0, as defined by Linux in ``fs/squashfs/squashfs_fs.h``; all little-endian."""

from __future__ import annotations

import struct
from typing import Literal

import msgspec

MAGIC = 0x73717368
VERSION = (4, 0)

SUPERBLOCK = struct.Struct("<5I6H8Q")
"""magic, inodes, mkfs_time, block size, fragments; compression, block log, flags, ids, major, minor; root reference,
bytes used, starts of the id, xattr, inode, directory, fragment and export table."""

COMPRESSION_IDS = {"gzip": 1, "zstd": 6}

FLAGS = 0xC0
"""Duplicates are stored once, inodes are exportable: the defaults of mksquashfs."""

METADATA_SIZE = 8192
"""Uncompressed bytes of a metadata block; only the last one of a table is shorter."""

METADATA_UNCOMPRESSED = 0x8000
"""Bit of a metadata block's 16-bit header that marks a block stored uncompressed."""

METADATA_HEADER = struct.Struct("<H")

NONE_32 = 0xFFFFFFFF
NONE_64 = 0xFFFFFFFFFFFFFFFF
"""No fragment, no extended attributes; no such table."""

MAX_32 = 0xFFFFFFFF

EXTENDED = 7
"""Added to the type of a basic inode, it gives the type of the extended one."""

PAD = 4096
"""The whole image is padded to this many bytes, as loop devices require."""

# Inodes. The first six fields are common: type, mode, index of uid, index of gid, mtime, number.
DIRECTORY = struct.Struct("<4H2I2I2HI")
"""common; start block, links, size, offset, parent's number."""
EXTENDED_DIRECTORY = struct.Struct("<4H2I4I2HI")
"""common; links, size, start block, parent's number, index entries, offset, xattrs."""
FILE = struct.Struct("<4H2I4I")
"""common; start, fragment, offset in it, size."""
EXTENDED_FILE = struct.Struct("<4H2I3Q4I")
"""common; start, size, bytes in blocks of zeros, links, fragment, offset in it, xattrs."""
SYMLINK = struct.Struct("<4H2I2I")
"""common; links, length of the target."""
DEVICE = struct.Struct("<4H2I2I")
"""common; links, device number."""
EXTENDED_DEVICE = struct.Struct("<4H2I3I")
"""common; links, device number, xattrs."""
IPC = struct.Struct("<4H2II")
"""common; links."""
EXTENDED_IPC = struct.Struct("<4H2I2I")
"""common; links, xattrs."""
XATTR_INDEX = struct.Struct("<I")
"""Follows the target of an extended symlink."""

DIRECTORY_INDEX = struct.Struct("<3I")
"""offset of a header in the listing, start of its metadata block, length of the first name less one; then the name."""
DIRECTORY_HEADER = struct.Struct("<3I")
"""entries less one, start of the metadata block of all their inodes, number that theirs are relative to."""
DIRECTORY_ENTRY = struct.Struct("<HhHH")
"""offset of the inode in its metadata block, relative inode number, basic type, length of the name less one."""

DIRECTORY_RUN = 256
"""Most entries under one directory header."""

DIRECTORY_EXTRA = 3
"""Added to a listing's size in the inode: readers count ``.`` and ``..``."""

MAX_BASIC_DIRECTORY = 0xFFFF
MAX_INDEXES = 0xFFFF

FRAGMENT = struct.Struct("<QII")
"""start, stored size with bit 24 set when uncompressed, unused."""

XATTR_ENTRY = struct.Struct("<2H")
"""prefix, length of the name after it; then the name, then the value's size and bytes."""
XATTR_SIZE = struct.Struct("<I")
XATTR_ELSEWHERE = struct.Struct("<IQ")
"""8, the size of what follows; reference of the value's size and bytes in another entry."""
XATTR_OUT_OF_LINE = 0x100
XATTR_SET = struct.Struct("<Q2I")
"""reference of the first entry, entries, bytes of all names with their terminators and of all values."""
XATTR_HEADER = struct.Struct("<Q2I")
"""start of the entries, number of sets, unused; then the starts of the metadata blocks of sets."""

XATTR_PREFIXES = {b"user.": 0, b"trusted.": 1, b"security.": 2}

MAX_NAME = 256
MAX_SYMLINK = 4095
MAX_IDS = 65535
MAX_MAJOR = 4095
MAX_MINOR = 1048575
MAX_XATTR_NAME = 255
MAX_XATTR_VALUE = 65536
MAX_XATTR_LIST = 65536
"""Limits of squashfs on names and ids, and of Linux on device numbers and extended attributes (xattr(7))."""


class SquashfsOptions(msgspec.Struct, frozen=True):
    """Settings of an image that are stored in its superblock.

    Attributes:
        compression: Codec of all blocks.
        block_size: Bytes of a full data block, a power of two.
        mkfs_time: Seconds since 1970.
    """

    compression: Literal["gzip", "zstd"] = "gzip"
    block_size: int = 131072
    mkfs_time: int = 0


def encode_device(major: int, minor: int) -> int:
    """Return a device number as Linux's ``new_encode_dev`` packs it into 32 bits."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def clamp_time(seconds: int) -> int:
    """Return the nearest time that an unsigned 32-bit field can hold."""
    return min(max(seconds, 0), MAX_32)
