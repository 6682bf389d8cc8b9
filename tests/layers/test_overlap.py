"""Packing a layer on several threads: the same pack and the same errors as on one, and no thread is left behind."""

from __future__ import annotations

import errno
import gzip
import io
import random
import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sifmake.builder.cancellation import CancellableProgress, CancelledError
from sifmake.errors import SifmakeError, SourceError
from sifmake.layers import beside, overlap
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import make_codec
from sifmake.layers.image_budget import ImageBudget
from sifmake.layers.pack_writer import write_pack, write_passing
from sifmake.limits import DEFAULT_LIMITS, KIB, Limits
from sifmake.memory import _WITHOUT_THREADS
from sifmake.progress import Silent
from sifmake.sources.base import LayerCandidate
from support.images import compress
from support.layers import diff_id_of, entry, file, folder, hardlink, layer_of, tar

if TYPE_CHECKING:
    from sifmake.oci.model import Layer

DICE = random.Random(11)
LARGE = DICE.randbytes(500_000)
FILES = [file(f"d/f{n:02}", DICE.randbytes(300) * DICE.randrange(1, 100)) for n in range(60)]
RAW = tar(
    folder("d"),
    *FILES[:30],
    file("d/large", LARGE),
    hardlink("d/link", "d/f00"),
    *FILES[30:],
    file("d/again", LARGE),
    entry("d/" + "long" * 60, data=b"x" * 150_000),
    file("d/zeros", bytes(300_000)),
)
BLOBS = {kind: compress(RAW, kind) for kind in ("none", "gzip", "zstd")}
BLOBS["members"] = b"".join(gzip.compress(RAW[at : at + 50_000], 1, mtime=0) for at in range(0, len(RAW), 50_000))
APART, ALONE = 0, 1 << 60


class Outcome(NamedTuple):
    """What packing gave: the pack, or an error as text, and the names of the threads at work."""

    pack: bytes
    error: str
    threads: frozenset[str]


class Disk(io.BytesIO):
    """A file on a disk that has room for some bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(data) > self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


class Source:
    """A blob that comes in pieces of any size, and breaks off once with an error."""

    def __init__(
        self, blob: bytes, piece: int = 64 * KIB, breaks_at: int = 1 << 60, error: BaseException | None = None
    ):
        self._blob = io.BytesIO(blob)
        self._piece = piece
        self._breaks_at = breaks_at
        self._error = error or SourceError("the connection broke")
        self.names: set[str] = set()

    def read(self, size: int, /) -> bytes:
        self.names |= {thread.name for thread in threading.enumerate()}
        if self._blob.tell() >= self._breaks_at:
            self._breaks_at = 1 << 60
            raise self._error
        return self._blob.read(min(size, self._piece))


def pack(
    source: Source,
    layer: Layer,
    apart_from: int,
    *,
    limits: Limits = DEFAULT_LIMITS,
    room: int = 1 << 60,
    threads: int = 2,
    ahead: int = 4 << 20,
    progress: Silent | CancellableProgress | None = None,
) -> Outcome:
    """Pack a layer, check that no thread is left, and return what came of it."""
    before = set(threading.enumerate())
    out, error = Disk(room), ""
    with pytest.MonkeyPatch.context() as patch, Workers(threads) as workers:
        patch.setattr(overlap, "APART_FROM", apart_from)
        patch.setattr(overlap, "_AHEAD", ahead)
        task = (progress or Silent()).task("layer")
        try:
            write_pack(out, source, layer, make_codec("fast"), workers, limits, task)
        except (SifmakeError, OSError, MemoryError, KeyboardInterrupt) as raised:
            error = f"{type(raised).__name__}: {raised}"
        left = {thread.name for thread in set(threading.enumerate()) - before}
    assert {name for name in left if not name.startswith(("compress", "sync"))} == set()
    assert set(threading.enumerate()) == before
    return Outcome(b"" if error else out.getvalue(), error, frozenset(source.names))


def both(blob: bytes, raw: bytes = RAW, layer: Layer | None = None, **options: object) -> str:
    """Pack on one thread and on several; return the error, which is the same."""
    layer = layer or layer_of(blob, raw)
    reading = {name: options.pop(name) for name in ("piece", "breaks_at", "error") if name in options}
    alone, apart = (pack(Source(blob, **reading), layer, size, **options) for size in (ALONE, APART))
    assert apart.error == alone.error
    assert apart.pack == alone.pack
    return alone.error


@pytest.mark.parametrize("kind", BLOBS)
@settings(max_examples=8, deadline=None)
@given(piece=st.integers(10, 200_000), ahead=st.integers(1, 1 << 20), threads=st.integers(2, 4))
def test_the_pack_is_the_same(kind, piece, ahead, threads):
    piece = max(piece, len(BLOBS[kind]) // 300)
    assert both(BLOBS[kind], piece=piece, ahead=ahead, threads=threads) == ""


def names(outcome: Outcome) -> set[str]:
    return {name.rpartition("_")[0] for name in outcome.threads} & {"stream", "unpack", "hash"}


def test_threads_are_for_large_layers_and_several_processors(monkeypatch):
    blob = BLOBS["gzip"]
    layer = layer_of(blob, RAW)
    assert names(pack(Source(blob), layer, len(blob))) == {"stream", "unpack", "hash"}
    assert names(pack(Source(blob), layer, len(blob) + 1)) == set()
    assert names(pack(Source(blob), layer, APART, threads=1)) == set()
    monkeypatch.setenv(_WITHOUT_THREADS, "1")
    assert names(pack(Source(blob), layer, APART)) == set()


@pytest.mark.parametrize("refused", ["stream", "unpack", "hash"])
def test_a_thread_that_the_system_refuses_is_done_without(refused, monkeypatch):
    """As under ``ulimit -u``."""
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith(refused):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    outcome = pack(Source(BLOBS["gzip"]), layer_of(BLOBS["gzip"], RAW), APART)
    assert outcome.error == ""
    assert names(outcome) == {"stream", "unpack", "hash"} - {refused}


@pytest.mark.parametrize("kind", ["gzip", "zstd", "members"])
@pytest.mark.parametrize("is_told", [False, True], ids=["blob", "layer"])
def test_damage_anywhere_is_told_in_the_same_words(kind, is_told):
    """The blob was damaged on the way, or (then its digest is right) before it was pushed."""
    good = BLOBS[kind]
    places = [2, *range(len(good) // 11, len(good), len(good) // 4), len(good) - 2]
    for place in places:
        damaged = bytearray(good)
        damaged[place] ^= 0x10
        layer = layer_of(bytes(damaged) if is_told else good, RAW)
        assert both(bytes(damaged), layer=layer)
        layer = layer_of(good[:place] if is_told else good, RAW)
        assert both(good[:place], layer=layer)


@pytest.mark.parametrize("place", [100, 512 * 70, 512 * 1500, len(RAW) // 2, len(RAW) * 3 // 4])
def test_a_damaged_header_anywhere_is_told_in_the_same_words(place):
    """The header behind the place: its checksum is wrong, whatever is ahead."""
    at = RAW.index(b"ustar", place)
    raw = bytearray(RAW)
    raw[at - 100] ^= 1
    blob = gzip.compress(raw, 1)
    assert "checksum is wrong" in both(blob, bytes(raw))
    # The end of the stream is damaged, too: what comes first counts, and a wrong blob counts more.
    assert "checksum is wrong" in both(blob[:-1], layer=layer_of(blob[:-1], bytes(raw)))
    assert "wrong digest" in both(blob, layer=layer_of(BLOBS["gzip"][: len(blob)].ljust(len(blob)), RAW))
    assert "the connection broke" in both(blob, bytes(raw), breaks_at=len(blob) - 1, piece=len(blob) // 9)


@pytest.mark.parametrize("share", [0, 3, 50, 97, 100])
def test_a_connection_may_break_anywhere(share):
    blob = BLOBS["gzip"]
    assert both(blob, breaks_at=len(blob) * share // 100, piece=10_000) == "SourceError: the connection broke"


@pytest.mark.parametrize(
    "limits",
    [
        {"layer_entries": 40},
        {"file_bytes": 400_000},
        {"layer_bytes": len(RAW) // 2},
        {"name_bytes": 200},
        {"inflate_ratio": 1, "inflate_ratio_from": 1_000_000},
        {"layer_listing_bytes": 10_000},
    ],
    ids=lambda limits: next(iter(limits)),
)
def test_limits_hold(limits):
    assert "(limits:" in both(BLOBS["gzip"], limits=DEFAULT_LIMITS._replace(**limits)).replace("bomb", "(limits:")


@pytest.mark.parametrize("room", [0, 100_000, 400_000])
def test_a_full_disk_ends_it(room):
    assert "No space left" in both(BLOBS["gzip"], room=room)


@pytest.mark.parametrize("wrong", ["digest", "diff_id", "size"])
def test_wrong_digests_are_noticed(wrong):
    blob, other = BLOBS["gzip"], BLOBS["gzip"][:-1] + b"\1"
    layer = {"digest": layer_of(other, RAW), "diff_id": layer_of(blob, RAW[:-1]), "size": layer_of(blob[:-9], RAW)}
    assert both(blob, layer=layer[wrong])


@pytest.mark.parametrize("thread", ["stream", "hash"])
def test_memory_that_runs_out_while_hashing_ends_it(thread, monkeypatch):
    def fail(batches):
        for updates in batches:
            if threading.current_thread().name.startswith(thread):
                raise MemoryError
            for update, data in updates:
                update(data)

    monkeypatch.setattr(overlap, "update_all", fail)
    assert pack(Source(BLOBS["gzip"]), layer_of(BLOBS["gzip"], RAW), APART).error == "MemoryError: "


def test_an_interrupt_ends_it():
    """Ctrl-C comes to the thread that reads, if that is the main thread."""
    source = Source(BLOBS["gzip"], 10_000, 200_000, KeyboardInterrupt())
    assert pack(source, layer_of(BLOBS["gzip"], RAW), APART).error == "KeyboardInterrupt: "


def test_a_cancelled_build_ends_it():
    progress = CancellableProgress(Silent())
    progress.stop()
    error = pack(Source(BLOBS["gzip"]), layer_of(BLOBS["gzip"], RAW), APART, progress=progress).error
    assert error == f"{CancelledError.__name__}: interrupted"


@pytest.mark.parametrize("kind", ["none", "gzip"])
def test_layers_that_are_read_once_are_packed_the_same(kind, monkeypatch):
    found = []
    for apart_from in (ALONE, APART):
        monkeypatch.setattr(overlap, "APART_FROM", apart_from)
        blob, out = BLOBS[kind], io.BytesIO()
        candidate = LayerCandidate("x", io.BytesIO(blob), blob[:512], len(blob), "sha256", lambda: len(BLOBS["gzip"]))
        with Workers(2) as workers:
            budget = ImageBudget(DEFAULT_LIMITS)
            facts = write_passing(
                out, candidate, make_codec("fast"), workers, DEFAULT_LIMITS, Silent().task(""), budget
            )
        found.append((facts, out.getvalue()))
    assert found[0] == found[1]
    assert found[0][0].diff_id == diff_id_of(RAW)


def test_large_files_of_one_size_are_compared(monkeypatch):
    """Only these can be equal; all others are hashed without waiting."""
    monkeypatch.setattr(overlap, "APART_FROM", 0)
    one, two, other = LARGE[:200_000], LARGE[200_000:400_000], LARGE[:200_001]
    contents = [one, other, two, one, two, other, one]
    raw = tar(*(file(f"f{number}", data) for number, data in enumerate(contents)))
    out = io.BytesIO()
    with Workers(2) as workers:
        write_pack(out, Source(raw), layer_of(raw, raw), make_codec("fast"), workers, DEFAULT_LIMITS, Silent().task(""))
    assert both(raw, raw) == ""
    assert len(out.getvalue()) < 610_000


class Taker:
    """Takes pieces, after it was told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.taken: list[bytes] = []

    def __call__(self, pieces):
        assert self.go.wait(30)
        self.taken.extend(pieces)
        return len(self.taken)


def test_whoever_is_ahead_waits():
    """At most so many bytes, and a piece more, are between the two threads."""
    taker = Taker()
    made = []

    def pieces():
        for number in range(20):
            made.append(number)
            if number == 4:
                threading.Timer(0.05, taker.go.set).start()
            assert len(made) <= 5 or taker.go.is_set()
            yield bytes(100)

    with beside.Beside(taker, "taker", 400) as thread:
        assert thread.feed(pieces(), len) == 20
    assert taker.taken == [bytes(100)] * 20


def test_work_that_ends_early_stops_the_making_of_pieces():
    made = []

    def pieces():
        while True:
            made.append(0)
            yield bytes(100)

    with beside.Beside(next, "taker", 400) as thread:
        assert thread.feed(pieces(), len) == bytes(100)
    assert made


def test_the_end_of_the_block_ends_the_work():
    with beside.Beside(list, "taker", 400) as thread:
        assert thread.put(b"x", 1)
    assert not thread.put(b"y", 1)
    assert not [each for each in threading.enumerate() if each.name.startswith("taker")]
