"""Tree files that somebody made up: they are made again, whatever they say."""

from __future__ import annotations

import random
import struct
from contextlib import ExitStack

import msgspec
import pytest
from isal.isal_zlib import crc32

from sifmake.errors import FlattenError
from sifmake.flatten.flattened import FORMAT, load
from support.layers import file, flatten_layers, folder, tar

RAW = tar(folder("d"), file("d/a", b"a" * 1000), file("b", b"b"))
PATH, KIND, MODE, UID, SIZE, SHA, TARGET = 0, 1, 2, 3, 6, 7, 8
HARDLINK = 8


@pytest.fixture
def made(tmp_path):
    with ExitStack() as stack:
        flattened, packs = flatten_layers(tmp_path, [RAW], stack)
        flattened.save(tmp_path / "tree")
        yield tmp_path / "tree", packs, flattened


def write(path, rows, layers):
    encoded = rows if isinstance(rows, bytes) else FORMAT + msgspec.msgpack.encode(rows)
    behind = msgspec.msgpack.encode(layers)
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
    rows = [list(row) for row in msgspec.msgpack.decode(flattened.encoded.removeprefix(FORMAT))]
    write(path, rows, flattened.layers)
    assert load(path, packs).digest == flattened.digest
    write(path, TAMPERED[which](rows), flattened.layers)
    with pytest.raises(FlattenError, match="does not fit"):
        load(path, packs)


@pytest.mark.parametrize("layers", [[-1, -1], [7, 7], [], [1 << 63, 0], "x"])
def test_layers_that_are_not_there(made, layers):
    path, packs, flattened = made
    write(path, flattened.encoded, layers)
    with pytest.raises(FlattenError):
        load(path, packs)


def test_random_bytes_are_refused_or_a_tree(made):
    path, packs, flattened = made
    chance = random.Random(3)
    for _ in range(500):
        rows = bytearray(flattened.encoded)
        rows[chance.randrange(len(FORMAT), len(rows))] = chance.randrange(256)
        write(path, bytes(rows), flattened.layers)
        try:
            list(load(path, packs).tree.walk())
        except FlattenError:
            continue
