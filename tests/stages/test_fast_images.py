"""Images with fast blocks: locked with their level, recorded with their encoder, made from any pack of gzip blocks."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

import sifmake
from sifmake.block_compression import RUN_COMPRESSION
from sifmake.builder import run_cache
from sifmake.builder.pull import PullRequest, pull
from sifmake.builder.run_cache import ImageToRun
from sifmake.cli.main import main
from sifmake.layers.codec import Codec, make_codec
from sifmake.layers.pack_format import pack_key
from sifmake.progress import Silent
from sifmake.project.configuration import Configuration
from support.images import Blobs, write_layout
from support.layers import diff_id_of, file, folder, make_pack, tar
from support.sif_files import partition_of
from support.squashfs_tools import extract, fuse_mount, kernel_mount, needs_kernel, needs_tools

TEXT = b" ".join(random.Random(17).choices([b"words", b"of", b"a", b"text", b"that", b"compresses"], k=60_000))
LAYER = tar(folder("bin/"), file("bin/sh", TEXT), file("motd", b"hello"))
GZIP, FAST, ZSTD = (pack_key(diff_id_of(LAYER), make_codec(name)) for name in ("gzip", RUN_COMPRESSION, "zstd"))


@pytest.fixture
def layout(tmp_path):
    blobs = Blobs()
    write_layout(tmp_path / "layout", blobs, {"x": blobs.image([LAYER])})
    return f"oci:{tmp_path}/layout:x"


def make(layout, target, store, compression="gzip"):
    pull(PullRequest(layout, target, compression=compression), Silent(), Configuration(store=store))
    return target.read_bytes()


def start(layout, store):
    """Find or build the image as ``exec`` does; return its bytes."""
    found = run_cache.find_or_build(ImageToRun(layout), Silent(), Configuration(store=store))
    found.close()
    return found.path.read_bytes()


def packs(store):
    return {path.name for path in (store / "packs").rglob("*-v*")}


def lose_layers(layout):
    """Leave no blob of the size of a layer behind."""
    for path in Path(layout.split(":")[1], "blobs").rglob("*"):
        if path.is_file() and path.stat().st_size > 4000:
            path.unlink()


def test_exec_packs_fast_and_a_later_pull_repacks_without_the_layer(layout, tmp_path):
    """A pull after ``exec`` gives the bytes of a pull without it."""
    clean = make(layout, tmp_path / "clean.sif", tmp_path / "clean")
    store = tmp_path / "store"
    quick = start(layout, store)
    assert packs(store) == {FAST}
    assert clean != quick
    lose_layers(layout)
    assert make(layout, tmp_path / "later.sif", store) == clean
    assert packs(store) == {FAST, GZIP}
    assert start(layout, store) == quick


@pytest.mark.parametrize("codec", [make_codec("gzip"), Codec("gzip", 1), Codec("fast", 1)])
def test_exec_uses_any_pack_of_gzip_blocks(layout, tmp_path, codec):
    store = tmp_path / "store"
    key = pack_key(diff_id_of(LAYER), codec)
    place(store, key, codec)
    lose_layers(layout)
    start(layout, store)
    assert packs(store) == {key}


def test_packs_of_other_blocks_are_repacked(layout, tmp_path):
    place(tmp_path / "store", ZSTD, make_codec("zstd"))
    lose_layers(layout)
    start(layout, tmp_path / "store")
    assert packs(tmp_path / "store") == {ZSTD, FAST}


def place(store, key, codec):
    path = store / "packs" / key[:2] / key
    path.parent.mkdir(parents=True)
    make_pack(path, LAYER, codec=codec).close()


@needs_kernel
@needs_tools("unsquashfs", "squashfuse")
@pytest.mark.parametrize("compression", ["gzip", "gzip:12", "fast", "fast:1", "zstd:1"])
def test_every_reader_reads_every_level(layout, tmp_path, compression):
    make(layout, tmp_path / "x.sif", tmp_path / "store", compression)
    image = partition_of(tmp_path / "x.sif")
    assert (extract(image, tmp_path / "out") / "bin/sh").read_bytes() == TEXT
    for mount in (kernel_mount, fuse_mount):
        with mount(image, tmp_path / "mnt") as top:
            assert (top / "bin/sh").read_bytes() == TEXT
    make(layout, tmp_path / "other.sif", tmp_path / "store", "zstd")
    assert sifmake.digest(tmp_path / "x.sif") == sifmake.digest(tmp_path / "other.sif")


def build(folder_, layout, compression, monkeypatch):
    """Lock and build an image in a project; return what the lock says, and the result of the stage ``sif``."""
    (folder_ / "config").mkdir(parents=True, exist_ok=True)
    image = {"from": layout, "compression": compression}
    (folder_ / "config/images.yaml").write_text(json.dumps({"images": {"x": image}}))
    (folder_ / "sifmake.yaml").write_text(json.dumps({"store": {"path": "store"}}))
    monkeypatch.chdir(folder_)
    assert main(["-q", "lock"]) == 0
    for stage in ("pull", "flatten", "sif"):
        assert main(["-q", "stage", stage, "x"]) == 0
    lock = (folder_ / "config/locks/x.yaml").read_text()
    return lock, json.loads((folder_ / "results/x/sif.json").read_text())["result"]


def test_locks_name_the_level_and_records_the_encoder_of_fast(layout, tmp_path, monkeypatch):
    lock, result = build(tmp_path / "a", layout, "gzip", monkeypatch)
    assert "\n  compression: gzip:6\n" in lock
    assert "encoder" not in result
    lock, result = build(tmp_path / "a", layout, "fast", monkeypatch)
    assert "\n  compression: fast:3\n" in lock
    assert result["encoder"] == make_codec("fast").encoder
    assert result["foreign"] == [GZIP], "the pack that the store had"
    lock, result = build(tmp_path / "b", layout, "fast", monkeypatch)
    assert "foreign" not in result


def test_a_level_that_is_none_is_named(layout, tmp_path, monkeypatch, capsys):
    with pytest.raises(AssertionError):
        build(tmp_path, layout, "fast:9", monkeypatch)
    assert "level of a compression, as in gzip:6, fast:3 or zstd:6" in capsys.readouterr().err
