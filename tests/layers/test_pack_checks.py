"""Packs whose checksums hold and whose index says what packing never writes: damage, and never another error."""

from __future__ import annotations

import os
import random

import pytest

from sifmake.errors import PackDamagedError
from sifmake.layers.codec import BLOCK_SIZE, make_codec
from sifmake.layers.pack_audit import check_index, check_pack
from sifmake.layers.pack_format import FRAGMENT, pack_key
from sifmake.layers.pack_reader import open_pack
from sifmake.limits import DEFAULT_LIMITS, Limits
from support.layers import diff_id_of, file, folder, hardlink, make_pack, symlink, tar
from support.packs import PARTS, parts_of, tamper, write_parts

NOISE = random.Random(7).randbytes(3 * BLOCK_SIZE + 50)
RAW = tar(
    folder("d"),
    file("d/a", b"a" * 1000),
    file("d/b", b"b" * 70_000),
    file("d/c", random.Random(5).randbytes(100_000)),
    file("large", NOISE),
    file("holes", b"x" + bytes(4 * BLOCK_SIZE)),
    hardlink("link", "d/a"),
    symlink("s", "d/a"),
    file("whole", b"w" * BLOCK_SIZE),
)
KEY = pack_key(diff_id_of(RAW), make_codec("gzip"))
PATH, KIND, MODE, UID, SIZE, CONTENT, TARGET = 0, 1, 2, 3, 6, 7, 8
SHA, LENGTH, START, STORED, BLOCKS, FRAGMENT_NUMBER, OFFSET, SPARSE = range(8)


@pytest.fixture
def path(tmp_path):
    make_pack(tmp_path / "p", RAW).close()
    return tmp_path / "p"


def use(path):
    """Do what a build does with an index."""
    with open_pack(path, KEY) as pack:
        return pack.entries(), pack.contents, pack.fragments, pack.stored_entries()


def put(part, row, column, value):
    def change(parts):
        rows = parts[part]
        entry = list(rows[row])
        entry[column] = value(entry[column]) if callable(value) else value
        rows[row] = entry

    return change


def entry(row, column, value):
    return put("entries", row, column, value)


def content(row, column, value):
    return put("contents", row, column, value)


def more_fields(*values):
    def change(parts):
        parts["entries"][1] = [*parts["entries"][1], *[0, 0, ()][: 12 - len(parts["entries"][1])], *values]

    return change


def raw_part(name, data):
    def change(parts):
        parts[name] = data

    return change


def meta(name, value):
    def change(parts):
        parts["meta"][name] = value

    return change


AT_ONCE = {
    "entries are no msgpack": raw_part("entries", b"\xc1"),
    "entries are nested for ever": raw_part("entries", b"\x91" * 200_000),
    "entries are said to be 4 billion": raw_part("entries", b"\xdd\xff\xff\xff\xff"),
    "text that is not UTF-8": raw_part("meta", b"\xd9\x02\xff\xff"),
    "meta is a list": raw_part("meta", b"\x90"),
    "a fragment truncated": raw_part("fragments", bytes(FRAGMENT.size + 1)),
    "kind 0": entry(1, KIND, 0),
    "kind 11": entry(1, KIND, 11),
    "a mode of 13 bits": entry(1, MODE, 0o10000),
    "a negative owner": entry(1, UID, -1),
    "an owner of 33 bits": entry(1, UID, 1 << 32),
    "a content that is not there": entry(1, CONTENT, 999),
    "the first content that is not there": lambda parts: (
        entry(1, SIZE, 0)(parts),
        entry(1, CONTENT, len(parts["contents"]))(parts),
    ),
    "content -2": entry(1, CONTENT, -2),
    "a content of another size": entry(1, SIZE, 999),
    "a size without a content": entry(0, slice(SIZE, CONTENT + 1), [7, -1]),
    "a layer in an entry": more_fields(1),
    "children in an entry": more_fields(0, {b"x": [b"x", 2, 0, 0, 0, 0]}),
    "no children in an entry": more_fields(0, {}),
    "a number in an entry": more_fields(0, None, 5),
    "a digest of 31 bytes": content(0, SHA, bytes(31)),
    "an empty content": content(0, LENGTH, 0),
    "a size beyond 64 bits": content(0, LENGTH, (1 << 64) - 1),
    "a fragment that is not there": content(0, FRAGMENT_NUMBER, 99),
    "no fragment for a tail": content(0, FRAGMENT_NUMBER, -1),
    "a tail beyond its fragment": content(0, OFFSET, BLOCK_SIZE),
    "an offset without a tail": content(5, OFFSET, 1 << 40),
    "blocks of a small file": content(0, BLOCKS, bytes(4)),
    "blocks too few": content(3, BLOCKS, lambda blocks: blocks[:-4]),
    "half a block word": content(3, BLOCKS, lambda blocks: blocks[:-2]),
    "blocks beyond the data": content(3, START, 1 << 40),
    "more stored than there is": content(3, STORED, 1 << 40),
    "a negative start": content(3, START, -1),
    "more holes than bytes": content(3, SPARSE, 1 << 40),
    "a fragment beyond the data": put("fragments", 0, 0, 1 << 60),
    "a fragment of more than a block": put("fragments", 0, 2, BLOCK_SIZE + 1),
    "an empty fragment": put("fragments", 0, 1, 0),
    "a fragment word of 26 bits": put("fragments", 0, 1, lambda word: word | 1 << 25),
    "another block size": meta("block_size", 1 << 20),
    "another DiffID": meta("diff_id", "sha256:" + "0" * 64),
    "a DiffID of another algorithm": meta("diff_id", "md5" + diff_id_of(RAW)[6:]),
    "another level": meta("level", 9),
    "another codec": meta("codec", "zstd"),
    "an unknown codec": meta("codec", "lzma"),
    "another encoder": meta("fingerprint", "0" * 16),
    "a thousand warnings": meta("warnings", ["w"] * 1000),
}


@pytest.mark.parametrize("change", AT_ONCE.values(), ids=AT_ONCE.keys())
def test_what_later_code_relies_on_is_checked_while_it_is_read(path, change):
    tamper(path, change)
    with pytest.raises(PackDamagedError) as caught:
        use(path)
    assert str(path) in str(caught.value)


def overlapping_fragments(parts):
    parts["fragments"][1] = parts["fragments"][0]


def overlapping_tails(parts):
    first, second = parts["contents"][:2]
    assert first[FRAGMENT_NUMBER] == second[FRAGMENT_NUMBER]
    second[OFFSET] = first[OFFSET]


IN_THE_AUDIT = {
    "a path leads upwards": entry(1, PATH, b"d/../../a"),
    "a path begins with a slash": entry(1, PATH, b"/d/a"),
    "a path ends with a slash": entry(1, PATH, b"d/"),
    "a path with a point": entry(1, PATH, b"d/./a"),
    "a path with an empty part": entry(1, PATH, b"d//a"),
    "a path with a NUL": entry(1, PATH, b"d/a\0b"),
    "a hard link leads upwards": entry(6, TARGET, b"../a"),
    "a target with a NUL": entry(7, TARGET, b"a\0b"),
    "a content of a folder": entry(1, KIND, 1),
    "fragments overlap": overlapping_fragments,
    "tails overlap": overlapping_tails,
    "a word of 26 bits": content(3, BLOCKS, lambda blocks: b"\0\0\0\xff" + blocks[4:]),
    "words that do not make up what is stored": content(3, STORED, lambda stored: stored - 1),
    "children in an entry": more_fields(0, {b"x": [b"x", 2, 0, 0, 0, 0]}),
    "holes that are none": content(4, SPARSE, BLOCK_SIZE),
}


@pytest.mark.parametrize("change", IN_THE_AUDIT.values(), ids=IN_THE_AUDIT.keys())
def test_what_costs_time_is_checked_where_packs_come_in(path, change):
    tamper(path, change)
    with open_pack(path, KEY) as pack, pytest.raises(PackDamagedError) as caught:
        check_index(pack, DEFAULT_LIMITS)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("change", [content(1, SHA, bytes(32)), content(3, SHA, bytes(32))])
def test_the_audit_reads_every_file(path, change):
    tamper(path, change)
    with open_pack(path, KEY) as pack, pytest.raises(PackDamagedError, match="file with SHA-256 0000"):
        check_pack(pack, DEFAULT_LIMITS)


def test_the_audit_inflates_every_block(path):
    parts = parts_of(path)
    start, word, size = next(one for one in parts["fragments"] if not one[1] >> 24)
    parts["data"] = parts["data"][:start] + bytes(word) + parts["data"][start + word :]
    write_parts(path, parts)
    with open_pack(path, KEY) as pack:
        pack.check_data()
        with pytest.raises(PackDamagedError, match="cannot be inflated"):
            check_pack(pack, DEFAULT_LIMITS)
    assert size


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_good_pack_passes_the_audit(tmp_path, compression):
    with make_pack(tmp_path / "p", RAW, codec=make_codec(compression)) as pack:
        check_pack(pack, DEFAULT_LIMITS)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(inflate_ratio_from=1 << 10, inflate_ratio=2), "far more than a layer pack of this size"),
        (Limits(layer_entries=3), "more than 3 entries"),
        (Limits(name_bytes=2), "more than 2 bytes"),
    ],
)
def test_a_limit_is_called_a_limit(tmp_path, limits, said):
    with make_pack(tmp_path / "p", RAW) as pack, pytest.raises(PackDamagedError, match=said) as caught:
        check_pack(pack, limits)
    assert "is damaged" not in str(caught.value)


def test_a_fifo_is_not_a_pack(tmp_path):
    os.mkfifo(tmp_path / "p")
    with pytest.raises(PackDamagedError, match="complete layer pack"):
        open_pack(tmp_path / "p", KEY)


def test_no_descriptor_stays_open_for_a_pack_that_is_refused(path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(PackDamagedError, match="pack of another layer"):
            open_pack(path, KEY[:-1])
    assert len(os.listdir("/proc/self/fd")) == before


def test_random_bytes_in_an_index_are_damage_or_nothing(path):
    """A thousand flipped bits with matching checksums cause no other error, wherever they are."""
    chance, whole = random.Random(11), parts_of(path)
    index = {name: part for name, part in split(path).items() if name != "data"}
    for _ in range(1000):
        name = chance.choice(list(index))
        part = bytearray(index[name])
        for _ in range(chance.randint(1, 3)):
            part[chance.randrange(len(part))] = chance.randrange(256)
        write_parts(path, {**index, name: bytes(part), "data": whole["data"]})
        try:
            with open_pack(path, KEY) as pack:
                pack.entries()
                check_pack(pack, DEFAULT_LIMITS)
        except PackDamagedError:
            continue


def split(path):
    """Return the parts of a pack as bytes."""
    with open_pack(path, KEY) as pack:
        index = {name: pack.raw_part(name) for name in PARTS[:-1]}
        return {"data": pack.read(0, pack.footer.data_size), **index, "residue": b"".join(pack.residue())}
