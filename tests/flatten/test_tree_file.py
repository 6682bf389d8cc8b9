"""Forged tree files are made again, whatever they contain."""

from __future__ import annotations

import hashlib
import random
import struct
from contextlib import ExitStack

import msgspec
import pytest
from isal.isal_zlib import crc32

from sifmake.errors import FlattenError
from sifmake.flatten.flattened import flatten, load
from sifmake.flatten.tree_file import FORMAT, ROWS
from support.layers import file, flatten_layers, folder, tar

RAW = tar(folder("d"), file("d/a", b"a" * 1000), file("b", b"b"))
PATH, KIND, MODE, UID, SIZE, SHA, TARGET = 0, 1, 2, 3, 6, 7, 8
HARDLINK = 8


@pytest.fixture
def made(tmp_path):
    with ExitStack() as stack:
        _, packs = flatten_layers(tmp_path, [RAW], stack)
        yield tmp_path / "tree", packs, flatten(packs, 0, path=tmp_path / "tree")


def parts(path):
    """Return the listing of a tree file and what stands behind it."""
    raw = path.read_bytes()
    size, _ = struct.unpack("<QI", raw[-12:])
    return raw[:size], msgspec.msgpack.decode(raw[size:-12])


def write(path, rows, origins):
    encoded = rows if isinstance(rows, bytes) else FORMAT + msgspec.msgpack.encode(rows)
    if not isinstance(rows, bytes) or rows[:-1] == FORMAT:
        origins = [[len(encoded) - len(FORMAT) - 1], *origins[1:]]
    behind = msgspec.msgpack.encode(origins)
    path.write_bytes(encoded + behind + struct.pack("<QI", len(encoded), crc32(behind)))


def changed(row, column, value):
    def change(rows):
        rows[row][column] = value
        return rows

    return change


TAMPERED = {
    "no msgpack": lambda _: FORMAT + b"\xc1",
    "nested for ever": lambda _: FORMAT + b"\x91" * 100_000,
    "a root that is a file": changed(0, KIND, 2),
    "an unknown kind": changed(2, KIND, 9),
    "a mode of 13 bits": changed(2, MODE, 0o10000),
    "a negative owner": changed(2, UID, -1),
    "an unknown content": changed(1, SHA, bytes(32)),
    "another size": changed(1, SIZE, 3),
    "a link to nothing": lambda rows: [*rows, [b"z", HARDLINK, *[0] * 5, b"", b"nothing", 0, 0, []]],
    "a link that makes a circle": lambda rows: [*rows, [b"d/z", HARDLINK, *[0] * 5, b"", b"d", 0, 0, []]],
    "a file in a file": changed(2, PATH, b"b/a"),
}


@pytest.mark.parametrize("which", TAMPERED)
def test_a_tree_that_somebody_made_up_is_refused(made, which):
    path, packs, flattened = made
    encoded, origins = parts(path)
    rows = [list(row) for row in msgspec.msgpack.decode(encoded.removeprefix(FORMAT))]
    write(path, rows, origins)
    assert load(path, packs).digest == flattened.digest
    write(path, TAMPERED[which](rows), origins)
    with pytest.raises(FlattenError, match="does not match"):
        load(path, packs)


def words(*numbers):
    return struct.pack(f"<{len(numbers)}I", *numbers)


@pytest.mark.parametrize(
    ("layers", "contents"),
    [
        (words(7, 7), words(1, 0)),
        (words(0, 0), words(0, 1)),
        (words(0, 0), words(0, 9)),
        (words(0), words(0)),
        (words(0, 0), words(0)),
        (b"", b""),
        (b"abc", words(1, 0)),
        (1, 2),
    ],
)
def test_origins_that_are_not_there(made, layers, contents):
    path, packs, flattened = made
    encoded, (sizes, *good) = parts(path)
    write(path, encoded, [sizes, *good])
    assert load(path, packs).digest == flattened.digest
    write(path, encoded, [sizes, layers, contents])
    with pytest.raises(FlattenError):
        load(path, packs)


@pytest.mark.parametrize("sizes", [[], [1], [-1], [1 << 62], [1, 1], "x"])
def test_pieces_that_do_not_make_up_the_listing(made, sizes):
    path, packs, _ = made
    encoded, (_, *origins) = parts(path)
    write(path, encoded, [sizes, *origins])
    with pytest.raises(FlattenError):
        load(path, packs)


@pytest.mark.parametrize("cut", [0, 5, 11, 12, 40])
def test_a_tree_file_that_is_cut_off(made, cut):
    path, packs, _ = made
    path.write_bytes(path.read_bytes()[-cut:] if cut else b"")
    with pytest.raises(FlattenError):
        load(path, packs)


def test_a_listing_of_several_pieces_is_the_one_that_msgpack_writes(tmp_path):
    with ExitStack() as stack:
        _, packs = flatten_layers(tmp_path, [tar(*(file(f"f{n:04}", b"%d" % n) for n in range(2 * ROWS)))], stack)
        flattened = flatten(packs, 0, path=tmp_path / "tree")
        encoded, (sizes, *_) = parts(tmp_path / "tree")
        assert len(sizes) == 3
        rows = msgspec.msgpack.decode(encoded.removeprefix(FORMAT))
        assert encoded == FORMAT + msgspec.msgpack.encode(rows)
        loaded = load(tmp_path / "tree", packs)
        assert (loaded.digest, loaded.entries) == (flattened.digest, 2 * ROWS + 1)
        assert flatten(packs, 0).digest == flattened.digest == f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def test_random_bytes_are_refused_or_a_tree(made):
    path, packs, _ = made
    encoded, origins = parts(path)
    chance = random.Random(3)
    for _ in range(500):
        rows = bytearray(encoded)
        rows[chance.randrange(len(FORMAT), len(rows))] = chance.randrange(256)
        write(path, bytes(rows), origins)
        try:
            list(load(path, packs).tree.walk())
        except FlattenError:
            continue
