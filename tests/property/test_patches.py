"""Whatever an image deletes of its layers: the tree reads back right, and what the store kept changes no byte."""

import hashlib
import random
import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from sifmake.assembly import patches, tails
from sifmake.assembly.image import SifContents, write_sif
from sifmake.flatten.flattened import flatten
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import make_codec
from sifmake.layers.entry import FILE, Inode
from sifmake.progress import Silent
from sifmake.store import Store
from support.layers import file, make_pack, tar
from support.sif_files import partition_of
from support.squashfs_tools import kernel_mount, needs_kernel, read_rows

SIZES = st.sampled_from([0, 1, 5000, 40_000, 100_000, 131_071, 131_072, 150_000])
FILES = st.lists(SIZES, min_size=1, max_size=25)
DELETED = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 24)), max_size=30)


def body(layer: int, number: int, size: int) -> bytes:
    return random.Random(f"{layer} {number}").randbytes(size)


@needs_kernel
@settings(max_examples=20, deadline=None)
@given(st.tuples(FILES, FILES), DELETED, DELETED, st.sampled_from(["gzip", "zstd"]))
def test_any_set_of_live_tails(sizes, deleted, before, compression):
    layers = [{f"{k}-{n}": body(k, n, size) for n, size in enumerate(some)} for k, some in enumerate(sizes)]
    with ExitStack() as stack:
        stack.enter_context(patch.object(patches, "LEAST", 0))
        stack.enter_context(patch.object(tails, "GROUP", 2))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lower = [tar(*(file(*item) for item in some.items())) for some in layers]
        gone = {f"{k}-{n}" for k, n in deleted}
        top = tar(*(file(f".wh.{name}") for name in sorted(gone)))
        other = tar(*(file(f".wh.{k}-{n}") for k, n in set(before)))
        codec = make_codec(compression)
        packs = [make_pack(folder / f"{n}.pack", raw, codec=codec) for n, raw in enumerate([*lower, top, other])]
        for pack in packs:
            stack.enter_context(pack)
        store = Store(folder / "store")
        without = build(packs[:3], folder / "x.sif", codec, None)
        build([*packs[:2], packs[3]], folder / "y.sif", codec, store)
        assert build(packs[:3], folder / "x.sif", codec, store) == without
        assert build(packs[:3], folder / "x.sif", codec, store) == without
        wanted = {name: data for some in layers for name, data in some.items() if name not in gone}
        with kernel_mount(partition_of(folder / "x.sif"), folder / "at") as mounted:
            rows = read_rows(mounted)
        got = {path.decode(): row.sha256 for path, row in rows.items() if row.type == "f"}
        assert got == {name: hashlib.sha256(data).hexdigest() for name, data in (wanted | {"new": b"new"}).items()}


def build(packs, target, codec, store) -> bytes:
    flattened = flatten(packs, epoch=0)
    new = Inode(b"new", FILE, 0o644, 0, 0, 0, 3)
    flattened.tree.root.children[b"new"] = new
    contents = SifContents([], [], flattened.tree, [(new, b"new")], packs, "amd64", 0)
    with Workers(2) as workers:
        write_sif(target, contents, codec, workers, Silent().task(""), store)
    return target.read_bytes()
