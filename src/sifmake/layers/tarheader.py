"""One header block of a tar stream: v7, ustar, GNU and star, read as Go's archive/tar reads them."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import NamedTuple
from zlib import adler32

from sifmake.errors import LayerError

HARD_LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = b"1", b"2", b"3", b"4", b"5", b"6"
REGULAR, OLD_REGULAR, CONTIGUOUS = b"0", b"\0", b"7"
GNU_SPARSE, GNU_LONG_NAME, GNU_LONG_LINK = b"S", b"L", b"K"
PAX_LOCAL, PAX_GLOBAL = b"x", b"g"
NO_DATA = frozenset((HARD_LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO))
"""Types without a data section, whatever their size field says."""

_FIELDS = Struct("100s8s8s8s12s12s8sc100s6s2s64x8s8s155s12x")
"""name, mode, uid, gid, size, mtime, checksum, type, link name, magic, version, major, minor, prefix."""

USTAR_MAGIC = b"ustar\0"
GNU_MAGIC, GNU_VERSION = b"ustar ", b" \0"
STAR_TRAILER = b"tar\0"
CHECKSUM = slice(148, 156)
BLANK_CHECKSUM_SUM = 8 * 0x20


class Header(NamedTuple):
    """The fields of a header block, not yet corrected by extended headers."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    type: bytes
    linkname: bytes
    major: int
    minor: int


def parse_header(block: bytes) -> Header:
    """Parse a block of 512 bytes that is not all zeros.

    Raises:
        LayerError: Its checksum is wrong or a number in it is none.
    """
    (name, mode, uid, gid, size, mtime, checksum, kind, link, magic, version, major, minor, prefix) = _FIELDS.unpack(
        block
    )
    # Adler-32's low half is 1 plus the sum of the bytes modulo 65521: exact for 256 bytes, and far faster than sum().
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    wanted = number(checksum)
    if total - sum(checksum) + BLANK_CHECKSUM_SUM != wanted and _signed_sum(block) != wanted:
        raise LayerError("the header's checksum is wrong, or this is no tar stream")
    name = text(name)
    major_number = minor_number = 0
    if magic == USTAR_MAGIC or (magic == GNU_MAGIC and version == GNU_VERSION):
        major_number, minor_number = number(major), number(minor)
        if directory := _prefix(block, magic, prefix):
            name = directory + b"/" + name
    return Header(
        name,
        number(mode),
        number(uid),
        number(gid),
        number(size),
        number(mtime),
        kind,
        text(link),
        major_number,
        minor_number,
    )


def is_gnu(block: bytes) -> bool:
    """Tell whether a header block is in the old GNU format, which alone has type ``S`` in GNU's layout."""
    return block[257:265] == GNU_MAGIC + GNU_VERSION


def text(field: bytes) -> bytes:
    """Return what stands before the first NUL."""
    return field.partition(b"\0")[0]


@lru_cache(maxsize=4096)
def number(field: bytes) -> int:
    """Parse a numeric field: octal with blanks or NULs around it, or GNU's base-256 (signed, big-endian).

    Raises:
        LayerError: It is neither, or does not fit into 64 bits.
    """
    if field[0] & 0x80:
        return _base256(field)
    digits = text(field.strip(b" \0"))
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise LayerError(f"the header has {digits.decode('ascii', 'backslashreplace')!r} where an octal number belongs")
    return int(digits, 8)


def _base256(field: bytes) -> int:
    # Bit 7 marks the encoding, bit 6 is the sign.
    first = field[0] | 0x80 if field[0] & 0x40 else field[0] & 0x7F
    value = int.from_bytes(bytes([first]) + field[1:], "big", signed=True)
    if not -(1 << 63) <= value < 1 << 63:
        raise LayerError("a number in the header does not fit into 64 bits")
    return value


def _signed_sum(block: bytes) -> int:
    """Return the checksum as old tars made it, of signed bytes."""
    rest = block[: CHECKSUM.start] + block[CHECKSUM.stop :]
    return sum(rest) - 256 * sum(byte >> 7 for byte in rest) + BLANK_CHECKSUM_SUM


def _prefix(block: bytes, magic: bytes, field: bytes) -> bytes:
    """Return the directory part that stands apart from the name."""
    if magic == USTAR_MAGIC:
        if block[508:] != STAR_TRAILER:
            return text(field)
        number(block[476:488])  # star: access and change time must be numbers
        number(block[488:500])
        return text(field[:131])
    # GNU keeps access and change time here. Go before 1.8 wrote a prefix all the same, which its reader still honours.
    try:
        for time in (block[345:357], block[357:369]):
            if time[0]:
                number(time)
    except LayerError:
        prefix = text(field)
        return prefix if prefix.isascii() else b""
    return b""
