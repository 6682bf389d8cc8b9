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

_FIELDS = Struct("100s24s12s12s8sc100s8s64x16s167s")
"""name; mode, uid and gid; size, mtime, checksum, type, link name; magic and version; major and minor; the rest."""

_USTAR_MAGIC = b"ustar\0"
_GNU_MAGIC = b"ustar  \0"
_STAR_TRAILER = b"tar\0"
_CHECKSUM = slice(148, 156)
_BLANK_CHECKSUM_SUM = 8 * 0x20
_EMPTY_REST = bytes(167)


class TarHeader(NamedTuple):
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


def parse_header(block: bytes) -> TarHeader:
    """Parse a block of 512 bytes that is not all zeros.

    Raises:
        LayerError: Its checksum is wrong, or a field does not hold a number.
    """
    name, owner, size, mtime, checksum, kind, link, magic, device, rest = _FIELDS.unpack(block)
    # Adler-32's low half is 1 plus the sum of the bytes modulo 65521: exact for 256 bytes, and far faster than sum().
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    wanted = number(checksum)
    if total - sum(checksum) + _BLANK_CHECKSUM_SUM != wanted and _signed_sum(block) != wanted:
        raise LayerError("the header's checksum is wrong, or this is not a tar stream")
    name = text(name)
    major = minor = 0
    if magic == _GNU_MAGIC or magic[:6] == _USTAR_MAGIC:
        major, minor = _numbers(device)
        if rest != _EMPTY_REST and (directory := _prefix(rest, magic)):
            name = directory + b"/" + name
    mode, uid, gid = _numbers(owner)
    return TarHeader(name, mode, uid, gid, number(size), number(mtime), kind, text(link), major, minor)


def is_gnu(block: bytes) -> bool:
    """Tell whether a header block is in the old GNU format, the only one with type ``S`` in GNU's layout."""
    return block[257:265] == _GNU_MAGIC


def text(field: bytes) -> bytes:
    """Return the bytes before the first NUL."""
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
        raise LayerError(f"the header has {digits.decode('ascii', 'backslashreplace')!r} in place of an octal number")
    return int(digits, 8)


@lru_cache(maxsize=1024)
def _numbers(fields: bytes) -> tuple[int, ...]:
    """Parse adjacent fields of 8 bytes; cached, because few combinations occur in a layer."""
    return tuple(number(fields[at : at + 8]) for at in range(0, len(fields), 8))


def _base256(field: bytes) -> int:
    # Bit 7 marks the encoding, bit 6 is the sign.
    first = field[0] | 0x80 if field[0] & 0x40 else field[0] & 0x7F
    value = int.from_bytes(bytes([first]) + field[1:], "big", signed=True)
    if not -(1 << 63) <= value < 1 << 63:
        raise LayerError("a number in the header does not fit into 64 bits")
    return value


def _signed_sum(block: bytes) -> int:
    """Return the checksum over signed bytes, as old tar programs computed it."""
    rest = block[: _CHECKSUM.start] + block[_CHECKSUM.stop :]
    return sum(rest) - 256 * sum(byte >> 7 for byte in rest) + _BLANK_CHECKSUM_SUM


def _prefix(rest: bytes, magic: bytes) -> bytes:
    """Return the directory part of the name, a separate field after the device numbers."""
    if magic != _GNU_MAGIC:
        if not rest.endswith(_STAR_TRAILER):
            return text(rest[:155])
        number(rest[131:143])  # star: access and change time must be numbers
        number(rest[143:155])
        return text(rest[:131])
    # GNU keeps access and change time here. Go before 1.8 wrote a prefix all the same, which its reader still accepts.
    try:
        for time in (rest[:12], rest[12:24]):
            if time[0]:
                number(time)
    except LayerError:
        prefix = text(rest[:155])
        return prefix if prefix.isascii() else b""
    return b""
