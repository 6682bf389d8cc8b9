"""The recipe of a SIF file: where it is cut, its bytes, and what is refused."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from sifmake.errors import IntegrityError, LimitError, SifError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.sif import open_sif
from sifmake.sources.recipe import HEADER, MAGIC, ROW, make_recipe, parse_recipe
from sifmake.sources.recipe_cuts import cut_sif, grain_for
from sifmake.sources.sif_update import plan_update
from support.sif_versions import CHANGED, sif_version

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = DEFAULT_LIMITS.recipe_bytes
GIB = 1 << 30


def cut(path: Path, data: bytes, grain: int = 0) -> list[bytes]:
    path.write_bytes(data)
    with path.open("rb") as file:
        return [bytes(piece) for piece in cut_sif(file.fileno(), grain)]


def recipe_of(data: bytes, grain: int, pieces: list[bytes]):
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return make_recipe(grain, map(memoryview, pieces), digest, LIMIT)


@pytest.mark.parametrize("grain", [0, 2, 6])
def test_the_ranges_of_a_file_are_the_file_and_come_back(tmp_path, grain):
    data = sif_version(signed=True)
    pieces = cut(tmp_path / "x.sif", data, grain)
    assert b"".join(pieces) == data
    assert all(pieces)
    recipe = recipe_of(data, grain, pieces)
    again = parse_recipe(recipe.encode(), LIMIT)
    assert again == recipe
    assert recipe_of(data, grain, cut(tmp_path / "y.sif", data, grain)).encode() == recipe.encode()
    assert [item.size for item in again] == [len(piece) for piece in pieces]
    assert [data[item.start :][: item.size] for item in again] == pieces


def test_tables_objects_and_signature_are_ranges_of_their_own(tmp_path):
    data = sif_version(signed=True)
    pieces = cut(tmp_path / "x.sif", data)
    with open_sif(tmp_path / "x.sif") as sif:
        borders = [place for item in sif.objects for place in (item.offset, item.offset + item.size)]
        borders += [sif.header.data_offset, sif.objects[2].offset + 96]
    ends = {sum(map(len, pieces[:number])) for number in range(len(pieces) + 1)}
    assert set(borders) <= ends


def test_ranges_have_some_80_kib_and_never_more_than_their_bound(tmp_path):
    pieces = cut(tmp_path / "x.sif", sif_version(size=8_000_000))
    assert 50_000 < 8_000_000 / len(pieces) < 130_000
    assert max(map(len, pieces)) <= 1 << 20


@pytest.mark.parametrize("fill", [bytes(5_000_000), b"\xa7\x5c\x01" * 1_700_000, b"\xa7\x5c\xff" * 1_700_000])
def test_data_without_marks_or_full_of_them_is_cut_within_bounds(tmp_path, fill):
    data = sif_version(size=300_000)
    with_fill = bytearray(data)
    offset = data.index(b"hsqs")
    size = len(data) - offset
    place = data.index(struct.pack("<q", size), 4096)  # the size of the partition in its descriptor
    with_fill[place : place + 8] = struct.pack("<q", size + len(fill))
    began = time.process_time()
    for grain in (0, 1, 6):
        pieces = cut(tmp_path / "x.sif", bytes(with_fill) + fill, grain)
        assert max(map(len, pieces)) <= 1 << (20 + grain)
        assert len(pieces) < 40 + len(fill) / (1 << (14 + grain))
    assert time.process_time() - began < 2


def test_what_moved_in_a_file_is_cut_as_before(tmp_path):
    """What was put in and taken away costs the ranges around it and no others."""
    old = sif_version()
    have = set(cut(tmp_path / "x.sif", old))
    new = cut(tmp_path / "y.sif", sif_version(newer=True))
    missing = sum(len(piece) for piece in new if piece not in have)
    assert CHANGED < missing < CHANGED + 400_000


@pytest.mark.parametrize(
    ("size", "grain"),
    [(1, 0), (2 * GIB, 0), (2 * GIB + 1, 1), (4 * GIB, 1), (4 * GIB + 1, 2), (64 * GIB, 5), (900 * GIB, 6)],
)
def test_larger_files_are_cut_more_coarsely(size, grain):
    assert grain_for(size) == grain


def header(grain=0, count=1, size=1, digest=bytes(32), magic=MAGIC):
    return HEADER.pack(magic, grain, count, size, digest)


ONE = ROW.pack(1, bytes(32))
HOSTILE = {
    "nothing": b"",
    "no magic": header(magic=b"SIFRECIX") + ONE,
    "short": header()[:-1],
    "a billion ranges": header(count=10**9, size=10**9) + ONE,
    "fewer ranges than announced": header(count=2, size=2) + ONE,
    "more ranges than announced": header(count=0, size=0) + ONE,
    "half a range": header() + ONE[:-1],
    "a size of nothing": header(count=2) + ONE + ROW.pack(0, bytes(32)),
    "a negative size": header(size=1) + struct.pack("<i32s", -1, bytes(32)),
    "a huge range": header(size=(16 << 20) + 1) + ROW.pack((16 << 20) + 1, bytes(32)),
    "a sum that is too small": header(size=2) + ONE,
    "a sum that is too large": header(size=1, count=2) + ONE * 2,
    "a negative sum": struct.pack("<8sIIq32s", MAGIC, 0, 1, -1, bytes(32)) + ONE,
    "a grain beyond the last": header(grain=7) + ONE,
    "a huge grain": header(grain=0xFFFFFFFF) + ONE,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_recipe_is_refused(name):
    with pytest.raises(IntegrityError):
        parse_recipe(HOSTILE[name], LIMIT)


def test_the_largest_recipe_takes_little_and_one_more_byte_is_a_limit(tmp_path):
    count = (LIMIT - HEADER.size) // ROW.size
    data = header(count=count, size=count) + b"".join(ROW.pack(1, os.urandom(32)) for _ in range(count))
    began = time.process_time()
    recipe = parse_recipe(data, LIMIT)
    (tmp_path / "x.sif").write_bytes(sif_version(size=1000))
    with (tmp_path / "x.sif").open("rb") as file:
        assert plan_update(recipe, file.fileno()) is None
    assert time.process_time() - began < 5
    with pytest.raises(LimitError, match="raise recipe-bytes"):
        parse_recipe(data + bytes(LIMIT), LIMIT)
    with pytest.raises(LimitError, match="raise recipe-bytes"):
        make_recipe(0, [memoryview(b"x")] * 5, f"sha256:{'0' * 64}", HEADER.size + 4 * ROW.size)


def test_missing_ranges_that_are_near_each_other_are_fetched_together(tmp_path):
    """And in at most 64 requests, however scattered the changes are."""
    data = bytearray(sif_version(size=24_000_000))
    pieces = cut(tmp_path / "old.sif", bytes(data))
    starts = [0]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    changed = [number for number in range(20, len(pieces) - 1) if number % 8 in (0, 2)]
    for number in changed:
        data[starts[number] + len(pieces[number]) // 2] ^= 1
    assert len(changed) > 64
    recipe = recipe_of(bytes(data), 0, cut(tmp_path / "new.sif", bytes(data)))
    with (tmp_path / "old.sif").open("rb") as file:
        update = plan_update(recipe, file.fileno())
    assert update is not None
    fetched = [step for step in update.steps if step.is_fetched]
    assert len(changed) / 3 < len(fetched) <= 64
    assert [step.start for step in update.steps[1:]] == [step.end for step in update.steps[:-1]]
    assert update.steps[-1].end == len(data)
    assert all(after.start - before.end >= 65536 for before, after in pairwise(fetched))


def test_a_file_that_is_not_sif_is_not_cut(tmp_path):
    with pytest.raises(SifError):
        cut(tmp_path / "x.sif", b"text" * 100_000)
