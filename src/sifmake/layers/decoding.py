"""Decoding msgpack that somebody else may have written: one error for everything that can be wrong with it."""

from __future__ import annotations

from typing import Any

import msgspec

from sifmake.errors import PackDamagedError

_FAULTS = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError, MemoryError)
"""What decoders raise for malformed bytes, numbers out of range and nesting without an end."""


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
        raise PackDamagedError(f"{what} is damaged ({error})", where=where) from None
