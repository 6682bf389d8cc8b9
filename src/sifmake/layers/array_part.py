"""A long msgpack array, encoded in pieces, so that its elements need not all exist as objects at the same time."""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_TOGETHER: Final = 1024
"""Number of elements encoded in one call."""


def array_header(count: int) -> bytes:
    """Return the header of an array (msgpack specification, array format family)."""
    if count < 16:
        return bytes([0x90 | count])
    return b"\xdc" + struct.pack(">H", count) if count < 1 << 16 else b"\xdd" + struct.pack(">I", count)


def encode_elements(elements: Sequence[object]) -> bytes:
    """Return the elements of an array without its header."""
    return msgspec.msgpack.encode(elements)[len(array_header(len(elements))) :]


class ArrayPart:
    """A msgpack array whose elements are kept encoded: about 60 bytes per entry, instead of 250 for the object.

    Attributes:
        count: Elements so far.
    """

    def __init__(self, elements: Iterable[object]) -> None:
        self.count = 0
        self._elements = bytearray()
        for some in _batches(elements):
            self.count += len(some)
            self._elements += encode_elements(some)

    def pieces(self) -> Iterator[bytes | bytearray]:
        """Yield the bytes of the array."""
        yield array_header(self.count)
        yield self._elements


def encoded_array(elements: Sequence[object]) -> Iterator[bytes]:
    """Yield the bytes of an array whose elements all exist already."""
    yield array_header(len(elements))
    yield from map(encode_elements, _batches(elements))


def _batches(elements: Iterable[object]) -> Iterator[list[object]]:
    left = iter(elements)
    while some := list(islice(left, _TOGETHER)):
        yield some
