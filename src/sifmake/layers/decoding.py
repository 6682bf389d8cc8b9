"""Decode msgpack that somebody else may have written: one error class for everything that can be wrong with it."""

from __future__ import annotations

from typing import Any

import msgspec

from sifmake.errors import PackDamagedError

_FAULTS = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError)
"""Errors that decoders raise for malformed bytes, numbers out of range and too deep nesting."""


def decode(raw: bytes | memoryview, kind: Any, what: str, where: str = "") -> Any:
    """Return the value that msgpack bytes hold.

    Args:
        raw: The bytes.
        kind: Type of the value; its constraints are checked.
        what: What the bytes are, for the error.
        where: The file.

    Raises:
        PackDamagedError: They do not hold such a value.
    """
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except _FAULTS as error:
        if isinstance(error, MemoryError) and not _promises_too_much(raw):
            raise
        raise PackDamagedError(f"{what} is damaged ({error})", where=where) from None


_SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2}
"""Bytes of the length that follows the first byte (msgpack specification)."""
_FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
"""Bytes of a number after its first byte."""


def _promises_too_much(raw: bytes | memoryview) -> bool:
    """Tell whether msgpack announces more elements than it has bytes, which would explain why memory ran out."""
    at, end = 0, len(raw)
    while at < end:
        first = raw[at]
        at += 1
        if first in _SIZES or first == 0xDF:
            width = _SIZES.get(first, 4)
            length = int.from_bytes(raw[at : at + width])
            at += width
            if length > end - at:
                return True
            if first <= 0xDB:
                at += length
        elif 0x80 <= first <= 0x9F:
            if first & 0xF > end - at:
                return True
        elif 0xA0 <= first <= 0xBF:
            at += first & 0x1F
        else:
            at += _FIXED.get(first, 0)
    return False
