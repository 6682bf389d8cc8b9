"""PAX extended headers (POSIX.1-2001 pax, section "pax Extended Header"): records, and what they say about an entry."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sifmake.errors import LayerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.limits import Limits

_XATTR_PREFIX = b"SCHILY.xattr."
SPARSE_MAP = b"GNU.sparse.map"
_SPARSE_OFFSET = b"GNU.sparse.offset"
_SPARSE_LENGTH = b"GNU.sparse.numbytes"

_TEXT_KEYS = frozenset((b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name"))
_INTEGER = re.compile(rb"[+-]?0*[0-9]{1,19}")
_TIME = re.compile(rb"([+-]?0*[0-9]{1,19})(?:\.([0-9]*))?")
_SHORTEST_RECORD = 5


def parse_records(data: bytes, most: int) -> tuple[dict[bytes, bytes], int]:
    """Parse the records ``length key=value newline`` and count them; if a key occurs twice, the last record wins.

    The pairs of GNU's sparse format 0.0, the one case of meaningful repetition, are returned as a map of format 0.1.

    Raises:
        LayerError: A record is malformed, or there are more than ``most``.
    """
    count = 0
    records: dict[bytes, bytes] = {}
    sparse: list[bytes] = []
    start = 0
    while start < len(data):
        count += 1
        if count > most:
            raise LayerError(
                "the PAX headers have more records than the entries of a layer need (a limit)",
                hint="raise pax-records (limits: in sifmake.yaml)",
            )
        key, value, start = _record(data, start)
        if key in (_SPARSE_OFFSET, _SPARSE_LENGTH):
            if key != (_SPARSE_LENGTH if len(sparse) % 2 else _SPARSE_OFFSET) or b"," in value:
                raise LayerError("the PAX header's sparse map is out of order")
            sparse.append(value)
        else:
            records[key] = value
    if sparse:
        records[SPARSE_MAP] = b",".join(sparse)
    return records, count


def _record(data: bytes, start: int) -> tuple[bytes, bytes, int]:
    blank = data.find(b" ", start, start + 20)
    length = data[start:blank] if blank > 0 else b""
    end = start + int(length) if _INTEGER.fullmatch(length) else 0
    if end < start + _SHORTEST_RECORD or not blank + 1 < end <= len(data) or data[end - 1] != 0x0A:
        raise LayerError("the PAX header has a record whose length is wrong")
    key, equals, value = data[blank + 1 : end - 1].partition(b"=")
    if not key or not equals:
        raise LayerError("the PAX header has a record without a key")
    if b"\0" in (value if key in _TEXT_KEYS else key):
        raise LayerError(f"the PAX header has a NUL in {printable(key)}")
    return key, value, end


def integer(records: Mapping[bytes, bytes], key: bytes) -> int | None:
    """Return a decimal value of 64 bits; None if the key is missing or its value empty.

    Raises:
        LayerError: The value is not such a number.
    """
    value = records.get(key)
    return decimal(value, key) if value else None


def decimal(value: bytes, key: bytes) -> int:
    """Parse the decimal number of 64 bits under ``key``.

    Raises:
        LayerError: The value is not such a number.
    """
    if _INTEGER.fullmatch(value) and -(1 << 63) <= (parsed := int(value)) < 1 << 63:
        return parsed
    raise _bad(key, value)


def seconds(records: Mapping[bytes, bytes], key: bytes) -> int | None:
    """Return a time in seconds, rounded down; None if the key is missing or its value empty.

    Digits beyond nanoseconds are ignored, as in Go.

    Raises:
        LayerError: The value is not a time.
    """
    value = records.get(key)
    if not value:
        return None
    match = _TIME.fullmatch(value)
    if not match or not -(1 << 63) <= (whole := int(match[1])) < 1 << 63:
        raise _bad(key, value)
    has_fraction = bool((match[2] or b"")[:9].strip(b"0"))
    return whole - 1 if has_fraction and value.startswith(b"-") else whole


def xattrs(records: Mapping[bytes, bytes], limits: Limits) -> tuple[tuple[bytes, bytes], ...]:
    """Return the extended attributes, sorted by name; attributes with an empty value are ignored, as in Go.

    Raises:
        LayerError: Together they are larger than ``limits.xattr_bytes``.
    """
    prefix = len(_XATTR_PREFIX)
    found = [(key[prefix:], value) for key, value in records.items() if value and key.startswith(_XATTR_PREFIX)]
    if sum(len(name) + len(value) for name, value in found) > limits.xattr_bytes:
        raise LayerError(
            f"the extended attributes are larger than {limits.xattr_bytes} bytes",
            hint="raise xattr-bytes (limits: in sifmake.yaml)",
        )
    return tuple(sorted(found))


def printable(name: bytes) -> str:
    """Return a name or value from a tar as text for a message: printable, and cut if it is long."""
    shown = ascii(name.decode("utf-8", "surrogateescape"))[1:-1] if not name.isascii() else name.decode("ascii")
    return shown if len(shown) <= 300 else f"{shown[:300]}..."


def _bad(key: bytes, value: bytes) -> LayerError:
    return LayerError(f"the PAX header has {printable(value)!r} for {printable(key)}")
