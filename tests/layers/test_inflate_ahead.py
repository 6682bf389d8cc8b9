"""Members and frames that are inflated ahead: the same pieces, and the same errors, as one after the other."""

from __future__ import annotations

import gzip
import io
import random
import struct
import threading
import tracemalloc
import zlib
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sifmake.errors import SifmakeError, SourceError
from sifmake.layers import inflate_ahead
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import zstd_module
from sifmake.layers.inflate import inflate
from sifmake.limits import DEFAULT_LIMITS, KIB, MIB, Limits
from support.corpus import CORPUS, needs_corpus

if TYPE_CHECKING:
    from collections.abc import Iterator

zstd = zstd_module()
DICE = random.Random(7)
WORDS = [DICE.randbytes(DICE.randrange(2, 9)) for _ in range(200)]
TEXT = b" ".join(DICE.choice(WORDS) for _ in range(60_000))
CHECKSUM = {zstd.CompressionParameter.checksum_flag: 1}


class Blob(io.BytesIO):
    """A blob that comes in pieces, and breaks off once."""

    def __init__(self, data: bytes, piece: int, breaks_at: int) -> None:
        super().__init__(data)
        self._piece = piece
        self._breaks_at = breaks_at

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self._breaks_at:
            self._breaks_at = 1 << 60
            raise SourceError("the connection broke")
        return super().read(min(size or 0, self._piece))


class Outcome(NamedTuple):
    """The pieces, and the error after them as text."""

    pieces: list[bytes]
    error: str


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2) as workers:
        yield workers


def outcome(
    data: bytes,
    workers: Workers | None,
    piece: int = 64 * KIB,
    breaks_at: int = 1 << 60,
    limits: Limits = DEFAULT_LIMITS,
) -> Outcome:
    pieces, error = [], ""
    try:
        pieces.extend(inflate(Blob(data, piece, breaks_at).read, limits, chunk=64 * KIB, workers=workers))
    except SifmakeError as raised:
        error = f"{type(raised).__name__}: {raised}"
    return Outcome(pieces, error)


def same(data: bytes, workers: Workers, part: int = 2000, largest: int = 20_000, **options: object) -> Outcome:
    """Inflate both ways and return the outcome, which is the same; all room for parts is free again."""
    alone = outcome(data, None, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inflate_ahead, "_PART", part)
        patch.setattr(inflate_ahead, "_LARGEST_PART", largest)
        patch.setattr(inflate_ahead, "_MOST_PLAIN", 10 * largest)
        assert outcome(data, workers, **options) == alone
    rooms = [workers.parts.acquire(blocking=False) for _ in range(4)]
    for _ in range(rooms.count(True)):
        workers.parts.release()
    assert rooms == [True, True, True, False]
    return alone


def packed(data: bytes, level: int = 6, name: bytes = b"") -> bytes:
    """Return a gzip member as Go writes it."""
    body = zlib.compressobj(level, wbits=-15)
    head = b"\x1f\x8b\x08" + bytes([8 if name else 0, 0, 0, 0, 0, 0, 255]) + (name + b"\0" if name else b"")
    return head + body.compress(data) + body.flush() + struct.pack("<II", zlib.crc32(data), len(data))


def skippable(data: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A53, len(data)) + data


def text(size: int) -> bytes:
    start = size * 7919 % (len(TEXT) - size)
    return TEXT[start : start + size]


FAKE = packed(b"fake") + packed(b"")
GZIP_PARTS = {
    "member": lambda size: packed(text(size), 1),
    "named member": lambda size: packed(text(size // 2), 9, b"f\x1f\x8b\x08"),
    "empty member": lambda _: packed(b""),
    "stored member with members in it": lambda size: packed(FAKE * (size // 200 + 1), 0),
    "zeros": lambda size: packed(bytes(size * 9)),
}
ZSTD_PARTS = {
    "frame": lambda size: zstd.compress(text(size), 1),
    "checked frame": lambda size: zstd.compress(text(size // 2), options=CHECKSUM),
    "empty frame": lambda _: zstd.compress(b""),
    "skippable frame": lambda size: skippable(bytes(size // 10)),
    "frames in a skippable one": lambda size: skippable(zstd.compress(text(size // 9)) * 3),
    "zeros": lambda size: zstd.compress(bytes(size * 9)),
}


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Return members or frames of many sizes, perhaps damaged, cut, or with something behind."""
    kinds = draw(st.sampled_from([GZIP_PARTS, ZSTD_PARTS]))
    chosen = draw(st.lists(st.tuples(st.sampled_from(sorted(kinds)), st.integers(10, 30_000)), min_size=1, max_size=25))
    blob = bytearray(b"".join(kinds[kind](size) for kind, size in chosen))
    match draw(st.sampled_from(["whole", "whole", "flip", "cut", "junk"])):
        case "flip":
            blob[draw(st.integers(0, len(blob) - 1))] ^= 1 << draw(st.integers(0, 7))
        case "cut":
            del blob[draw(st.integers(0, len(blob))) :]
        case "junk":
            blob += draw(st.sampled_from([b"\0", b"\x1f\x8b", b"junk" * 999, FAKE[:11], zstd.compress(b"x")]))
    return bytes(blob)


@settings(max_examples=150, deadline=None)
@given(stream=streams(), piece=st.integers(1, 70_000), part=st.integers(0, 9000), broken=st.floats(0, 3))
def test_pieces_and_errors_are_the_same(workers, stream, piece, part, broken):
    same(stream, workers, part, piece=max(piece, len(stream) // 500), breaks_at=int(len(stream) * broken))


@settings(max_examples=60, deadline=None)
@given(stream=streams(), ratio=st.integers(1, 9), start=st.integers(0, 200_000), most=st.integers(1, 400_000))
def test_limits_are_met_at_the_same_place(workers, stream, ratio, start, most):
    limits = {"inflate_ratio": ratio, "inflate_ratio_from": start, "layer_bytes": most}
    same(stream, workers, limits=DEFAULT_LIMITS._replace(**limits))


@pytest.mark.parametrize("ratio", [3, 4, 5, 6])
@pytest.mark.parametrize("piece", [1000, 64 * KIB])
def test_a_ratio_is_met_at_the_same_place(ratio, piece, workers):
    """Whether it is depends on how much was read, which is more when parts are read ahead."""
    blob = b"".join(packed(text(3000), 1) + packed(bytes(size), 1) for size in range(2000, 40_000, 500))
    limits = DEFAULT_LIMITS._replace(inflate_ratio=ratio, inflate_ratio_from=0)
    assert "times as many" in same(blob, workers, 5000, limits=limits, piece=piece).error


@pytest.mark.parametrize("piece", [1000, 7000, 64 * KIB])
def test_pieces_do_not_depend_on_the_parts(piece, workers):
    """Where the tar stream is when an error comes depends on them, and errors say where."""
    blob = b"".join(packed(text(size), 1) for size in range(1000, 60_000, 900))
    sizes = set(map(len, same(blob, workers, 30_000, 100_000, piece=piece).pieces))
    assert len(sizes) > 5


class Counted:
    """Counts parts that were inflated ahead, and those that were not whole members."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[str] = []
        self.failed = 0
        self._inflate = inflate_ahead._inflate_part
        monkeypatch.setattr(inflate_ahead, "_inflate_part", self)

    def __call__(self, *args: object) -> object:
        found = self._inflate(*args)
        self.failed += found is None
        self.threads.append(threading.current_thread().name)
        return found


MANY = {
    "members": b"".join(packed(TEXT[at : at + 5000], 1) for at in range(0, len(TEXT), 5000)),
    "members of Python": b"".join(gzip.compress(TEXT[at : at + 5000]) for at in range(0, len(TEXT), 5000)),
    "frames": b"".join(zstd.compress(TEXT[at : at + 5000], 1) for at in range(0, len(TEXT), 5000)),
    "pzstd": b"".join(skippable(b"size") + zstd.compress(TEXT[at : at + 5000], 1) for at in range(0, len(TEXT), 5000)),
}


@pytest.mark.parametrize("kind", MANY)
def test_many_members_are_inflated_on_other_threads(kind, workers, monkeypatch):
    counted = Counted(monkeypatch)
    assert b"".join(same(MANY[kind], workers).pieces) == TEXT
    assert counted.failed == 0
    assert len(counted.threads) > 40
    assert all(name.startswith("compress") for name in counted.threads)


@pytest.mark.parametrize("blob", [packed(TEXT), zstd.compress(TEXT), TEXT], ids=["gzip", "zstd", "plain"])
def test_nothing_is_read_ahead_of_a_single_member(blob, workers, monkeypatch):
    counted = Counted(monkeypatch)
    assert b"".join(same(blob, workers).pieces) == TEXT
    assert counted.threads == []


def test_what_only_looks_like_members_is_soon_inflated_in_turn(workers, monkeypatch):
    """Else a layer made of traps would take twice the time."""
    monkeypatch.setattr(inflate_ahead, "_MOST_WASTED", 100_000)
    counted = Counted(monkeypatch)
    blob = b"".join(packed(FAKE * 200, 0) for _ in range(200))
    assert same(blob, workers).error == ""
    assert 10 < counted.failed < 60
    assert len(counted.threads) < 80 < len(blob) // 10_000


def test_parts_are_small_in_memory(workers):
    """Members of 16 MiB of zeros: as compressed bytes they are tiny."""
    blob = packed(bytes(16 * MIB), 9) * 12
    tracemalloc.start()
    try:
        total = sum(map(len, inflate(io.BytesIO(blob).read, DEFAULT_LIMITS, workers=workers)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 12 * 16 * MIB
    assert peak < 3 * inflate_ahead._MOST_PLAIN + 8 * MIB


def test_pieces_that_nobody_takes_leave_no_part_behind(workers, monkeypatch):
    monkeypatch.setattr(inflate_ahead, "_PART", 2000)
    pieces = inflate(io.BytesIO(MANY["members"]).read, DEFAULT_LIMITS, chunk=64 * KIB, workers=workers)
    next(pieces)
    pieces.close()
    same(MANY["frames"], workers)


@needs_corpus
def test_layers_of_the_corpus_are_the_same_both_ways(workers):
    """All blobs that are gzip or zstd, hostile ones, too."""
    blobs = [path for path in sorted(CORPUS.rglob("*")) if path.is_file() and 100 < path.stat().st_size < 3 * MIB]
    compressed = {
        data for path in blobs if (data := path.read_bytes())[:4] == b"\x28\xb5\x2f\xfd" or data[:2] == b"\x1f\x8b"
    }
    assert len(compressed) > 50
    for data in sorted(compressed):
        same(data, workers, 4000)
