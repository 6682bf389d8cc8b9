"""Images that share blocks with their packs: the layout, what is shared, and that no deleted byte comes along."""

import hashlib
import os
import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from sifmake.assembly import copying
from sifmake.assembly.extents import BLOCK, Extent, gap_before
from sifmake.assembly.image import SifContents, write_sif
from sifmake.assembly.placing import SUPERBLOCK_SIZE, place_tails, plan_packs
from sifmake.compare.contents import open_reader
from sifmake.flatten.flattened import flatten
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import BLOCK_SIZE, make_codec
from sifmake.layers.entry import FILE, Inode
from sifmake.layers.pack_reader import open_pack
from sifmake.progress import Silent
from sifmake.reflinks import clone_range, shared_bytes
from sifmake.signing import sign_file
from sifmake.store import Store
from support.layers import file, make_pack, tar
from support.reflinks import reflink_disk
from support.sif_files import partition_of
from support.signing import pem_pair
from support.squashfs_tools import extract, fuse_mount, kernel_mount, needs_kernel, needs_tools

CHANCE = random.Random(17)
LONG = 64 << 10
LARGE = {f"l{n}": CHANCE.randbytes(BLOCK_SIZE + 1 + n * 7919) for n in range(9)}
SMALL = {f"s{n:02}": CHANCE.randbytes(11 + n * 977) for n in range(60)}
GONE = ["l1", "l4", "l5", "s03", "s04", "s30"]
ADDED = CHANCE.randbytes(BLOCK_SIZE + 77)
LOWER = tar(*(file(name, data) for name, data in sorted((LARGE | SMALL).items(), key=lambda row: row[1][:4])))
UPPER = tar(
    *(file(f".wh.{name}") for name in GONE),
    file("thin", b"x" * BLOCK_SIZE),
    file("dead", CHANCE.randbytes(BLOCK_SIZE)),
    file("hole", bytes(2 * BLOCK_SIZE)),
    file("up", CHANCE.randbytes(200_001)),
)
TOP = tar(file(".wh.dead"))
FILES = {name: data for name, data in (LARGE | SMALL).items() if name not in GONE}
"""What the image has of the lower layer."""
EDGES = [
    LARGE[name][at : at + 16] for name in ("l1", "l4") for at in (*range(0, 4096, 64), *range(126_976, 131_072, 64))
]
"""Pieces of deleted files at both ends of their blocks, beside live ones."""


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    paths = [folder / f"{number}.pack" for number in range(3)]
    for path, raw in zip(paths, (LOWER, UPPER, TOP), strict=True):
        make_pack(path, raw).close()
    return paths


@pytest.fixture(scope="module", params=["xfs", "btrfs"])
def disk(request, tmp_path_factory):
    with reflink_disk(request.param, tmp_path_factory.mktemp("disk")) as top:
        yield top


@pytest.fixture
def cloned(monkeypatch):
    """Calls of a file system that clones exactly what it is told: source, offset, offset in the image, bytes."""
    calls = []

    def clone(source, start, target, offset, size):
        calls.append((source, start, offset, size))
        os.pwrite(target, os.pread(source, size, start), offset)
        return True

    monkeypatch.setattr(copying, "clone_range", clone)
    return calls


def build(paths: list[Path], target: Path, store: Store | None = None) -> bytes:
    with ExitStack() as stack:
        opened = [stack.enter_context(open_pack(path)) for path in paths]
        added = Inode(b"added", FILE, 0o644, 0, 0, 0, len(ADDED))
        tree = flatten(opened, epoch=0).tree
        tree.root.children[b"added"] = added
        contents = SifContents([], [], tree, [(added, ADDED)], opened, "amd64", 0)
        workers = stack.enter_context(Workers(2))
        write_sif(target, contents, make_codec("gzip"), workers, Silent().task(""), store)
    return target.read_bytes()


def copied_to(folder: Path, paths: list[Path]) -> list[Path]:
    """Copy packs without sharing blocks with anything."""
    for path in paths:
        (folder / path.name).write_bytes(path.read_bytes())
    os.sync()
    return [folder / path.name for path in paths]


def planned(paths: list[Path]) -> list[tuple[int, Extent]]:
    """Return the extents of packs with the offset of each in the squashfs."""
    with ExitStack() as stack:
        opened = [stack.enter_context(open_pack(path)) for path in paths]
        plan, tails = plan_packs(flatten(opened, epoch=0).tree, opened)
        place_tails(plan, tails)
    rows, at = [], SUPERBLOCK_SIZE
    for extent in plan.extents:
        at += extent.gap
        rows.append((at, extent))
        at += extent.size
    assert at == plan.end
    return rows


def test_long_runs_stand_where_their_blocks_can_be_shared_and_short_ones_follow_at_once(packs):
    rows = planned(packs)
    long = [(at, extent) for at, extent in rows if extent.size >= LONG]
    short = [extent for _, extent in rows if extent.size < LONG]
    assert len(long) >= 4
    assert short
    assert any(extent.gap for _, extent in long)
    assert all((at - extent.start) % BLOCK == 0 and extent.gap < BLOCK for at, extent in long)
    assert not any(extent.gap for extent in short)


@pytest.mark.parametrize("start", [0, 1, 4095, 4096, 70_001])
@pytest.mark.parametrize("size", [1, LONG - 1, LONG, LONG + 1, 1 << 20])
def test_shared_blocks_are_whole_and_inside_the_range(start, size):
    end = 96 + 5 * 977
    at = end + gap_before(end, start, size)
    first, last = Extent(3, start, size).whole_blocks(at)
    if size < LONG:
        assert (at, first, last) == (end, 0, 0)
        return
    assert (start + first) % BLOCK == (at + first) % BLOCK == (last - first) % BLOCK == 0
    assert 0 <= first < BLOCK
    assert 0 <= size - last < BLOCK
    assert Extent(3, start, size).whole_blocks(at + 1) == (0, 0)


@needs_kernel
@needs_tools("unsquashfs", "squashfuse")
def test_four_readers_agree_on_a_layout_with_gaps(packs, tmp_path):
    build(packs, tmp_path / "x.sif")
    want = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    squashfs = partition_of(tmp_path / "x.sif")

    def read(top: Path) -> dict[str, str]:
        assert (top / "hole").read_bytes() == bytes(2 * BLOCK_SIZE)
        assert (top / "added").read_bytes() == ADDED
        return {name: hashlib.sha256((top / name).read_bytes()).hexdigest() for name in FILES}

    with kernel_mount(squashfs, tmp_path / "kernel") as top:
        assert read(top) == want
    with fuse_mount(squashfs, tmp_path / "fuse") as top:
        assert read(top) == want
    assert read(extract(squashfs, tmp_path / "out")) == want
    with open_reader(tmp_path / "x.sif") as reader:
        ours = {node.path.decode(): reader.digest(node).hex() for node in reader.walk() if node.kind == FILE}
    assert want.items() <= ours.items()


def test_gaps_are_zeros_and_counted_in_the_digest(packs, tmp_path):
    raw = build(packs, tmp_path / "x.sif")
    start = raw.index(b"hsqs")
    for at, extent in planned(packs):
        assert raw[start + at - extent.gap : start + at] == bytes(extent.gap)
    with ExitStack() as stack:
        opened = [stack.enter_context(open_pack(path)) for path in packs]
        contents = SifContents([], [], flatten(opened, epoch=0).tree, [], opened, "amd64", 0)
        workers = stack.enter_context(Workers(2))
        summary = write_sif(tmp_path / "y.sif", contents, make_codec("gzip"), workers, Silent().task(""))
    assert hashlib.sha256(partition_of(tmp_path / "y.sif").read_bytes()).hexdigest() == summary.objects[1]


def test_bytes_do_not_depend_on_what_the_file_system_can(packs, cloned, tmp_path, monkeypatch):
    shared = build(packs, tmp_path / "x.sif")
    assert cloned
    assert all(start % BLOCK == offset % BLOCK == size % BLOCK == 0 for _, start, offset, size in cloned)
    asked = []
    monkeypatch.setattr(copying, "clone_range", lambda source, *_: asked.append(source))
    assert build(packs, tmp_path / "y.sif") == shared
    assert asked
    assert len(asked) == len(set(asked)), "a file system that refuses is asked once for each pack"


def test_no_byte_beside_a_live_extent_comes_along(packs, cloned, tmp_path):
    raw = build(packs, tmp_path / "x.sif")
    assert cloned
    lower = packs[0].read_bytes()
    assert all(piece in lower for piece in EDGES)
    assert not [piece for piece in EDGES if piece in raw]


def test_no_byte_beside_a_live_extent_is_shared_on_disk(packs, disk, tmp_path):
    raw = build(copied_to(disk, packs), disk / "x.sif")
    assert shared_bytes(disk / "x.sif") > len(raw) / 2
    assert not [piece for piece in EDGES if piece in raw]
    assert raw == build(packs, tmp_path / "x.sif")


def test_signing_shares_all_blocks_but_those_it_writes(packs, disk, tmp_path):
    raw = build(copied_to(disk, packs), disk / "x.sif")
    sign_file(disk / "x.sif", disk / "signed.sif", pem_pair(tmp_path).signer)
    os.sync()
    assert shared_bytes(disk / "signed.sif") > len(raw) - 10 * BLOCK


def test_bytes_that_are_not_whole_blocks_are_refused_by_the_file_system(disk):
    (disk / "a").write_bytes(bytes(10_000))
    with (disk / "a").open("rb") as source, (disk / "b").open("w+b") as target:
        assert not clone_range(source.fileno(), 1, target.fileno(), 0, BLOCK)
        assert clone_range(source.fileno(), BLOCK, target.fileno(), 0, BLOCK)


def test_patches_are_placed_alike_whether_they_are_kept_or_not(packs, tmp_path, monkeypatch):
    monkeypatch.setattr("sifmake.assembly.patches.LEAST", 1)
    store = Store(tmp_path / "store")
    fresh = build(packs, tmp_path / "x.sif")
    assert fresh == build(packs, tmp_path / "x.sif", store) == build(packs, tmp_path / "x.sif", store)
