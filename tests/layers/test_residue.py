"""The residue: the exact tar stream comes back from a pack, whatever it holds; the residue is read in bounds."""

from __future__ import annotations

import gzip
import hashlib
import random

import pytest

from sifmake.errors import LayerError, PackDamagedError
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import BLOCK_SIZE, make_codec, zstd_module
from sifmake.layers.entry import DIR, FILE, HARDLINK, OPAQUE, WHITEOUT, Entry
from sifmake.layers.pack_audit import STORED_LIMITS
from sifmake.layers.pack_proof import prove_pack
from sifmake.layers.pack_reader import open_pack
from sifmake.layers.rebuild import tar_of
from sifmake.layers.repack import repack
from sifmake.layers.residue import MOST_RESIDUE, Record, ResidueWriter, read_residue
from sifmake.layers.tar_writer import tar_stream
from sifmake.limits import DEFAULT_LIMITS
from sifmake.progress import Silent
from sifmake.steps.layer_maker import LayerMaker
from sifmake.store import Store
from support.corpus import CORPUS, needs_corpus
from support.layers import diff_id_of, make_pack
from support.packs import residue, tamper
from support.tars import END, block, file, gnu_long, octal, padded, pax

NOISE = random.Random(17).randbytes(3 * BLOCK_SIZE + 700)


def old_gnu(name, regions, size, data):
    """Return a sparse member of GNU's old format with up to four regions."""
    area = b"".join(octal(offset, 12) + octal(length, 12) for offset, length in regions)
    raw = bytearray(block(name, b"S", len(data), magic=b"ustar  \0"))
    raw[386 : 386 + len(area)] = area
    raw[483:495] = octal(size, 12)
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw) + padded(data)


def old_gnu_extended(name, regions, size, data):
    """Return the same with its fifth region and later ones in an extension block."""
    raw = bytearray(old_gnu(name, regions[:4], size, data))
    raw[482] = 1
    raw[124:136] = octal(len(data), 12)
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    area = b"".join(octal(offset, 12) + octal(length, 12) for offset, length in regions[4:])
    return bytes(raw[:512]) + area.ljust(512, b"\0") + bytes(raw[512:])


def sparse_0_0(name, regions, size, data):
    pairs = [pair for at, n in regions for pair in ((b"GNU.sparse.offset", at), (b"GNU.sparse.numbytes", n))]
    numbers = ((b"GNU.sparse.size", size), (b"GNU.sparse.numblocks", len(regions)), *pairs)
    return pax(*((key, b"%d" % value) for key, value in numbers)) + file(name, data)


def sparse_0_1(name, regions, size, data):
    words = b",".join(b"%d,%d" % pair for pair in regions)
    return pax(
        (b"GNU.sparse.size", b"%d" % size),
        (b"GNU.sparse.numblocks", b"%d" % len(regions)),
        (b"GNU.sparse.map", words),
        (b"GNU.sparse.name", name),
    ) + file(b"GNUSparseFile.0/f", data)


def sparse_1_0(name, regions, size, data):
    table = padded(b"%d\n" % len(regions) + b"".join(b"%d\n%d\n" % pair for pair in regions))
    return pax(
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"%d" % size),
    ) + file(b"GNUSparseFile.0/f", table + data)


REGIONS = [(1000, 5000), (BLOCK_SIZE - 10, 300), (4 * BLOCK_SIZE, 0), (5 * BLOCK_SIZE + 7, 200_000)]
LOGICAL = 8 * BLOCK_SIZE + 3
DATA = NOISE[: sum(length for _, length in REGIONS)]
FORMS = (old_gnu, sparse_0_0, sparse_0_1, sparse_1_0)
SMALL_REGIONS = [(0, 100), (2000, 600)]

STREAMS = {
    "empty": b"",
    "only the end": END,
    "files": file(b"a", b"1") + file(b"b", b"") + file(b"c", NOISE) + file(b"d", NOISE[: 2 * BLOCK_SIZE]) + END,
    "missing end": file(b"a", b"a" * 700),
    "missing end and padding": file(b"a", b"a" * 700)[: 512 + 700],
    "one block of end": file(b"a", b"a") + bytes(512),
    "junk behind the end": file(b"a", b"a") + END + NOISE[:100_001],
    "zeros behind the end": file(b"a", b"a") + END + bytes(3 << 20),
    "padding is not zero": block(b"a", size=3) + b"abc" + b"\xff" * 509 + file(b"b", b"b") + END,
    "duplicate names": file(b"a", b"1") + file(b"a", b"2") + file(b"a", b"1") + END,
    "equal contents": b"".join(file(b"%d" % n, (NOISE, b"twin", b"x")[n % 3]) for n in range(9)) + END,
    "hard link with a size": file(b"a", b"abc") + block(b"b", b"1", 3, link=b"a") + file(b"c", b"c") + END,
    "markers with data": file(b".wh.x", b"data" * 300)
    + file(b"d/.wh..wh..opq", b"y")
    + file(b"a", b"data" * 300)
    + END,
    "a large marker": file(b".wh.x", NOISE) + file(b"a", NOISE) + END,
    "AUFS's own files": file(b".wh..wh.plnk/1.2", b"linked") + file(b".wh..wh.aufs", b"") + END,
    "long names": gnu_long(b"L", b"n" * 300) + file(b"x", b"1") + pax((b"path", b"p" * 400)) + file(b"y", b"2") + END,
    "xattrs": pax((b"SCHILY.xattr.user.a", b"v"), (b"SCHILY.xattr.security.selinux", b"s")) + file(b"y", b"2") + END,
    "global header": pax((b"comment", b"c"), kind=b"g") + file(b"y", b"2") + END,
    "old GNU with more regions": old_gnu_extended(b"s", [(n * 1000, 10) for n in range(9)], 10_000, bytes(range(90)))
    + END,
    "a hole only": sparse_1_0(b"s", [], LOGICAL, b"") + sparse_0_1(b"t", [], 100, b"") + END,
} | {
    f"{form.__name__} {size}": file(b"before", b"b")
    + form(b"s", regions, size, NOISE[: sum(length for _, length in regions)])
    + file(b"after", NOISE[:5000])
    + form(b"s2", regions, size, NOISE[: sum(length for _, length in regions)])
    + END
    for form in FORMS
    for regions, size in ((REGIONS, LOGICAL), (SMALL_REGIONS, 2600))
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_exact_stream_comes_back(name, tmp_path):
    raw = STREAMS[name]
    with make_pack(tmp_path / "p", raw) as pack:
        assert b"".join(tar_of(pack, DEFAULT_LIMITS)) == raw
        prove_pack(pack, DEFAULT_LIMITS)


@needs_corpus
def test_every_tar_of_the_corpus_comes_back(tmp_path):
    proven = 0
    for path in sorted(CORPUS.rglob("*.tar")):
        raw = path.read_bytes()
        if path.stem.endswith(("sparse-big", "sparse-large")) or len(raw) > 50 << 20:
            continue
        try:
            pack = make_pack(tmp_path / "p", raw)
        except LayerError:
            continue
        with pack:
            assert b"".join(tar_of(pack, DEFAULT_LIMITS)) == raw, path
            prove_pack(pack, DEFAULT_LIMITS)
            proven += 1
    assert proven > 80


def test_the_residue_depends_on_the_stream_only(tmp_path):
    raw = STREAMS["files"] + NOISE * 2
    packs = {}
    for name, blob in (("plain", raw), ("gzip", gzip.compress(raw)), ("zstd", zstd_module().compress(raw))):
        with make_pack(tmp_path / name, raw, blob=blob, codec=make_codec("zstd")) as pack:
            packs[name] = b"".join(pack.residue())
    with make_pack(tmp_path / "other", raw) as pack:
        packs["other codec"] = b"".join(pack.residue())
    assert len(set(packs.values())) == 1


def test_a_content_that_no_file_has_is_literal(tmp_path):
    with make_pack(tmp_path / "p", STREAMS["a large marker"]) as pack:
        assert pack.footer.residue_size > len(NOISE)
        assert len(pack.contents) == 1


def literals(*pieces):
    writer = ResidueWriter()
    for piece in pieces:
        writer.add_literal(piece)
    return writer


def test_a_residue_may_have_4_mib_or_a_twentieth_of_the_stream():
    noise = random.Random(1).randbytes(5 << 20)
    assert len(literals(noise[: 4 << 19]).finish(0)) > 4 << 19
    assert literals(noise).finish(99 << 20) == b""
    assert len(literals(noise).finish(102 << 20)) > 5 << 20


def test_a_residue_is_given_up_when_it_takes_64_mib(monkeypatch):
    monkeypatch.setattr("sifmake.layers.residue.MOST_RESIDUE", 1 << 20)
    assert MOST_RESIDUE == 64 << 20
    pieces = [random.Random(n).randbytes(1 << 18) for n in range(6)]
    writers = literals(*pieces[:3]), literals(*pieces)
    for writer in writers:
        writer.refer(0, None)
    assert [bool(writer.finish(1 << 40)) for writer in writers] == [True, False]


def test_pieces_of_literals_make_no_difference():
    data = random.Random(2).randbytes(100_000)
    whole = literals(data)
    parts = literals(*(data[at : at + 777] for at in range(0, len(data), 777)))
    for writer in (whole, parts):
        writer.refer(3, None)
    assert whole.finish(0) == parts.finish(0)
    records = list(read_residue([literals(data).finish(0)]))
    assert b"".join(record.literal for record in records) == data
    assert max(len(record.literal) for record in records) <= 32 << 10


def test_references():
    writer = ResidueWriter()
    writer.refer(0, None)
    writer.add_literal(b"x")
    writer.refer(1, None)
    writer.refer(0, None)
    writer.refer(4, [(10, 5), (20, 0), (30, 6)])
    writer.refer(5, None)
    assert list(read_residue([writer.finish(0)])) == [
        Record(b"", 0),
        Record(b"x", 1),
        Record(b"", 0),
        Record(b"", 4, 10, 5),
        Record(b"", 4, 30, 6),
        Record(b"", 5),
        Record(b""),
    ]


ZSTD = zstd_module()
WINDOW_OF_128_MIB = bytes.fromhex("28b52ffd0088010000")
DAMAGED = {
    "not zstd": (b"abcdef", "is damaged"),
    "truncated": (residue((b"abc" * 100, 0))[:-3], "its frame is truncated"),
    "followed by bytes": (residue((b"abc", 0)) + b"x", "other bytes follow"),
    "followed by a frame": (residue((b"abc", 0)) * 2, "other bytes follow"),
    "a record cut in its length": (ZSTD.compress(b"\1"), "inside a record"),
    "a record cut in its literal": (ZSTD.compress(b"\5\0abc"), "inside a record"),
    "a record without its kind": (ZSTD.compress(b"\0\0"), "inside a record"),
    "a record cut in its number": (ZSTD.compress(b"\0\0\2\1\0"), "inside a record"),
    "a record of kind 4": (ZSTD.compress(b"\0\0\4"), "record of kind 4"),
    "a window of 128 MiB": (WINDOW_OF_128_MIB, "requires too much memory"),
    "a number of no content": (residue((b"abc", 7)), "does not have"),
    "bytes behind a content": (residue((b"abc", 0, 1, 1 << 40)), "beyond the end of a content"),
    "an offset behind a content": (residue((b"abc", 0, 1 << 63, 1)), "beyond the end of a content"),
    "missing": (b"", "has no residue"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_residue_is_one_error(name, tmp_path):
    data, message = DAMAGED[name]
    make_pack(tmp_path / "p", file(b"a", NOISE) + END).close()
    tamper(tmp_path / "p", lambda parts: parts.__setitem__("residue", data))
    with open_pack(tmp_path / "p") as pack, pytest.raises(PackDamagedError, match=message):
        prove_pack(pack, DEFAULT_LIMITS)


def test_a_flipped_bit_of_the_residue_is_noticed(tmp_path):
    make_pack(tmp_path / "p", file(b"a", NOISE) + END).close()
    data = bytearray((tmp_path / "p").read_bytes())
    data[-100] ^= 1
    (tmp_path / "p").write_bytes(data)
    with (
        open_pack(tmp_path / "p") as pack,
        pytest.raises(PackDamagedError, match="residue of the layer pack is damaged"),
    ):
        list(pack.residue())


BOMBS = {
    "zeros": ((bytes(60_000),), 400),
    "records of nothing": ((b"",), 6_000_000),
    "a large content again and again": ((b"", 0), 3_000),
    "parts of one block": ((b"", 0, 5, 1), 6_000_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_residue_cannot_cost_much(name, tmp_path):
    record, count = BOMBS[name]
    one = zstd_module().decompress(residue(record))
    make_pack(tmp_path / "p", file(b"a", bytes(4 * BLOCK_SIZE)) + END).close()
    bomb = zstd_module().compress(one * count)
    assert len(bomb) < 1 << 20
    tamper(tmp_path / "p", lambda parts: parts.__setitem__("residue", bomb))
    limits = DEFAULT_LIMITS._replace(inflate_ratio_from=1 << 22)
    with open_pack(tmp_path / "p") as pack, pytest.raises(PackDamagedError, match=r"gives more than \d+ bytes"):
        for _ in tar_of(pack, limits):
            pass


def test_limits_of_a_project_do_not_make_packs_in_a_store_damaged(tmp_path):
    raw = file(b"zeros", bytes(40 * BLOCK_SIZE)) + file(b"n" * 90, b"x") + END
    low = {"inflate_ratio_from": 1 << 20, "inflate_ratio": 10}
    with make_pack(tmp_path / "p", raw) as pack:
        prove_pack(pack, STORED_LIMITS._replace(inflate_ratio_from=1 << 20))
        with pytest.raises(PackDamagedError, match="raise inflate-ratio"):
            prove_pack(pack, DEFAULT_LIMITS._replace(**low))


def test_layers_that_builds_make_come_back(tmp_path):
    entries = [
        (Entry(b"", DIR, 0o755, 0, 0, 7), ()),
        (Entry(b"a", FILE, 0o4755, 1, 2, -5, size=200_000, xattrs=((b"user.x", b"v"),)), (bytes(200_000),)),
        (Entry(b"d/" + b"n" * 300, FILE, 0o644, 3_000_000, 0, 7, size=3), (b"abc",)),
        (Entry(b"d/gone", WHITEOUT, 0, 0, 0, 7), ()),
        (Entry(b"e", OPAQUE, 0, 0, 0, 7), ()),
        (Entry(b"l", HARDLINK, 0o644, 0, 0, 7, target=b"a"), ()),
    ]
    raw = b"".join(tar_stream(entries))
    with LayerMaker(Store(tmp_path), "zstd", DEFAULT_LIMITS, Silent()) as maker, maker.make([raw], "step") as pack:
        prove_pack(pack, DEFAULT_LIMITS)
        assert b"".join(tar_of(pack, DEFAULT_LIMITS)) == raw


def test_a_repacked_pack_keeps_its_residue(tmp_path):
    raw = STREAMS["sparse_1_0 1048579"]
    with (
        make_pack(tmp_path / "old", raw) as old,
        Workers(1) as workers,
        (tmp_path / "new").open("wb") as out,
    ):
        repack(out, old, make_codec("zstd"), workers, Silent().task(""))
    with open_pack(tmp_path / "new") as pack:
        prove_pack(pack, DEFAULT_LIMITS)
        assert hashlib.sha256(b"".join(tar_of(pack, DEFAULT_LIMITS))).hexdigest() == diff_id_of(raw)[7:]
