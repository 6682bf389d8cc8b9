"""Changing an input a little: bytes, numbers of all widths, pieces of itself and of others, words of its format."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
from typing import Any

_EDGES = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 511, 512, 4096, 8191, 32767, 32768, 65535, 65536)
_LARGE = (
    (1 << 24) - 1,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    (1 << 32),
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)


def mutate(data: bytes, other: bytes, tokens: tuple[bytes, ...], choose: random.Random) -> bytes:
    """Return a changed copy.

    Args:
        data: What is changed.
        other: A further input, pieces of which may be put in.
        tokens: Pieces of the format.
        choose: Decides.
    """
    out = bytearray(data)
    for _ in range(1 << choose.choice((0, 0, 1, 1, 2, 3, 4))):
        at = _place(out, choose)
        choose.choice(_CHANGES)(out, at, other, tokens, choose)
    return bytes(out)


def _place(data: bytearray, choose: random.Random) -> int:
    """Return a position; heads and ends of files are where formats keep what leads to the rest."""
    size = len(data)
    if not size:
        return 0
    kind = choose.random()
    if kind < 0.3:
        return choose.randrange(min(size, 512))
    return size - 1 - choose.randrange(min(size, 512)) if kind < 0.5 else choose.randrange(size)


def _flip(data: bytearray, at: int, _other: bytes, _tokens: object, choose: random.Random) -> None:
    if data:
        data[at] ^= 1 << choose.randrange(8)


def _byte(data: bytearray, at: int, _other: bytes, _tokens: object, choose: random.Random) -> None:
    data[at : at + 1] = bytes([choose.randrange(256)])


def _number(data: bytearray, at: int, _other: bytes, _tokens: object, choose: random.Random) -> None:
    width = choose.choice((1, 2, 4, 8))
    value = choose.choice(_EDGES + _LARGE) & ((1 << 8 * width) - 1)
    data[at : at + width] = value.to_bytes(width, choose.choice(("little", "big")))


def _add(data: bytearray, at: int, _other: bytes, _tokens: object, choose: random.Random) -> None:
    width, order = choose.choice((1, 2, 4, 8)), choose.choice(("little", "big"))
    value = int.from_bytes(data[at : at + width], order) + choose.randint(-16, 16)
    data[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, order)


def _digits(data: bytearray, at: int, _other: bytes, _tokens: object, choose: random.Random) -> None:
    data[at : at + 1] = str(choose.choice(_EDGES + _LARGE)).encode()


def _delete(data: bytearray, at: int, _other: bytes, _tokens: object, choose: random.Random) -> None:
    del data[at : at + _length(choose)]


def _repeat(data: bytearray, at: int, _other: bytes, _tokens: object, choose: random.Random) -> None:
    piece = bytes(data[at : at + _length(choose)])
    data[at:at] = piece * choose.choice((1, 1, 2, 16, 200))


def _move(data: bytearray, at: int, _other: bytes, _tokens: object, choose: random.Random) -> None:
    piece = bytes(data[at : at + _length(choose)])
    place = _place(data, choose)
    data[place : place + choose.choice((0, len(piece)))] = piece


def _cross(data: bytearray, at: int, other: bytes, _tokens: object, choose: random.Random) -> None:
    if other:
        start = choose.randrange(len(other))
        piece = other[start : start + _length(choose)]
        data[at : at + choose.choice((0, len(piece)))] = piece


def _token(data: bytearray, at: int, _other: bytes, tokens: tuple[bytes, ...], choose: random.Random) -> None:
    if tokens:
        piece = choose.choice(tokens) * choose.choice((1, 1, 1, 2, 30))
        data[at : at + choose.choice((0, 0, len(piece)))] = piece


def _cut(data: bytearray, at: int, _other: bytes, _tokens: object, choose: random.Random) -> None:
    if choose.random() < 0.2:
        del data[at:]


def _length(choose: random.Random) -> int:
    return choose.choice((1, 2, 4, 8, 16, 32, 64, 512, choose.randrange(1, 5000)))


_CHANGES = (
    _flip,
    _byte,
    _number,
    _number,
    _add,
    _digits,
    _delete,
    _repeat,
    _move,
    _cross,
    _token,
    _token,
    _token,
    _cut,
)


def mutate_value(value: Any, choose: random.Random) -> Any:
    """Return a copy of a JSON or msgpack value in which one value somewhere is another one."""
    if isinstance(value, list | tuple) and value and choose.random() < 0.9:
        at = choose.randrange(len(value))
        items = list(value)
        kind = choose.random()
        if kind < 0.8:
            items[at] = mutate_value(items[at], choose)
        else:
            items[at : at + choose.randrange(2)] = items[at : at + 1] * choose.choice((0, 2, 2, 100))
        return items
    if isinstance(value, dict) and value and choose.random() < 0.9:
        key = choose.choice(list(value))
        changed = dict(value)
        if choose.random() < 0.1:
            del changed[key]
        else:
            changed[key] = mutate_value(changed[key], choose)
        return changed
    if isinstance(value, int) and not isinstance(value, bool) and choose.random() < 0.7:
        return choose.choice((value + choose.randint(-9, 9), -value, choose.choice(_EDGES + _LARGE)))
    if isinstance(value, bytes | str) and choose.random() < 0.7:
        return _mutate_text(value, choose)
    return choose.choice((None, True, 0, -1, 1.5, 1 << 63, "", "x", [], {}, [[]], {"": None}, "a" * 1000, "/../.."))


def _mutate_text(value: bytes | str, choose: random.Random) -> bytes | str:
    data = value if isinstance(value, bytes) else value.encode(errors="surrogatepass")
    data = mutate(data, data, (b"/", b"..", b"\0", b"\n", b"sha256:", b"\x80"), choose)
    return data if isinstance(value, bytes) else data.decode(errors="replace")
