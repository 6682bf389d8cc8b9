"""Packs under another's name, and packs that somebody tampered with: never used, made again in the same run."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys

import pytest

from sifmake.builder.pull import PullRequest, pull
from sifmake.layers.codec import Codec, make_codec
from sifmake.layers.pack_format import pack_key
from sifmake.project.configuration import Configuration
from support.images import Blobs, write_docker_archive, write_layout
from support.layers import diff_id_of, file, folder, make_pack, tar
from support.messages import Messages
from support.packs import tamper
from support.project import Folder

GOOD = tar(folder("etc/"), file("etc/motd", b"good" * 9000), file("big", os.urandom(300_000)))
EVIL = tar(folder("etc/"), file("etc/motd", b"evil" * 9000))
KEY = pack_key(diff_id_of(GOOD), make_codec("gzip"))


@pytest.fixture
def layout(tmp_path):
    blobs = Blobs()
    write_layout(tmp_path / "layout", blobs, {"x": blobs.image([GOOD])})
    return f"oci:{tmp_path}/layout:x"


def build(layout, target, store, compression="gzip", read_only=()):
    told = Messages()
    configuration = Configuration(store=store, read_only_stores=read_only)
    pull(PullRequest(layout, target, compression=compression), told, configuration)
    return target.read_bytes(), told.warnings


def place(store, key):
    path = store / "packs" / key[:2] / key
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def good(layout, tmp_path):
    return build(layout, tmp_path / "good.sif", tmp_path / "clean")[0]


IMPOSTORS = {
    "another layer": (EVIL, make_codec("gzip")),
    "another level": (GOOD, Codec("gzip", 1)),
    "another codec": (GOOD, make_codec("zstd")),
}


@pytest.mark.parametrize("which", IMPOSTORS)
@pytest.mark.parametrize("where", ["own", "read-only"])
def test_a_pack_under_anothers_key(layout, good, tmp_path, which, where):
    raw, codec = IMPOSTORS[which]
    store, site = tmp_path / "store", tmp_path / "site"
    poisoned = place(store if where == "own" else site, KEY)
    make_pack(poisoned, raw, codec=codec).close()
    before = poisoned.read_bytes()
    made, warnings = build(layout, tmp_path / "x.sif", store, read_only=[site])
    assert made == good
    assert any("the pack of another layer" in text and KEY in text for text in warnings)
    assert (poisoned.read_bytes() == before) == (where == "read-only")
    assert place(store, KEY).read_bytes() == place(tmp_path / "clean", KEY).read_bytes()
    assert build(layout, tmp_path / "y.sif", store)[1] == []


@pytest.mark.parametrize("which", ["another layer", "another level"])
def test_a_pack_under_anothers_key_is_not_repacked(layout, tmp_path, which):
    """A good pack of zstd is wanted; what there is says that it is one of gzip, level 6."""
    expected, _ = build(layout, tmp_path / "good.sif", tmp_path / "clean", "zstd")
    raw, codec = IMPOSTORS[which]
    make_pack(place(tmp_path / "store", KEY), raw, codec=codec).close()
    made, warnings = build(layout, tmp_path / "x.sif", tmp_path / "store", "zstd")
    assert made == expected
    assert any("the pack of another layer" in text for text in warnings)
    assert not place(tmp_path / "store", KEY).exists()


def test_a_pack_under_anothers_key_does_not_stop_a_pipe(tmp_path, good):
    """What went by is not to be had again, so a name alone must not make it pass."""
    blobs = Blobs()
    path = write_docker_archive(tmp_path / "x.tar", blobs, {"x:1": blobs.image([GOOD])}, compression="gzip")
    make_pack(place(tmp_path / "store", KEY), EVIL).close()
    words = [sys.executable, "-m", "sifmake", "pull", "piped.sif", "docker-archive:/dev/stdin"]
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
        environ = {**os.environ, "SIFMAKE_CACHE": str(tmp_path / "store")}
        subprocess.run(words, stdin=cat.stdout, check=True, cwd=tmp_path, env=environ)
    assert place(tmp_path / "store", KEY).read_bytes() == place(tmp_path / "clean", KEY).read_bytes()


def rename(path):
    def change(parts):
        parts["entries"][1][0] = path

    return change


def content(column, value):
    def change(parts):
        parts["contents"][0][column] = value

    return change


TAMPERED = {
    "no msgpack": lambda parts: parts.update(entries=b"\xc1"),
    "content number": lambda parts: parts["entries"][1].__setitem__(7, 99),
    "range": content(6, 100_000),
    "traversal": rename(b"etc/../../motd"),
    "traversal at the end": rename(b"etc/.."),
    "nul": rename(b"etc/a\0b"),
    "slashes": rename(b"etc//motd"),
    "children": lambda parts: parts["entries"][1].extend([0] * (11 - len(parts["entries"][1])) + [(), 0, {b"x": []}]),
}


@pytest.mark.parametrize("engine", ["pull", "stages"])
@pytest.mark.parametrize("which", TAMPERED)
def test_a_tampered_pack_is_made_again_in_the_same_run(layout, good, tmp_path, which, engine):
    store = tmp_path / "home/store"
    target = place(store, KEY)
    shutil.copy(place(tmp_path / "clean", KEY), target)
    tamper(target, TAMPERED[which])
    if engine == "pull":
        made, warnings = build(layout, tmp_path / "x.sif", store)
        assert made == good
        assert warnings
    else:
        project = Folder(tmp_path / "project", tmp_path / "home", images={"x": {"from": layout}})
        project.write()
        project.run("sifmake", "lock")
        project.build("doit")
        assert project.target("x").is_file()
    assert target.read_bytes() == place(tmp_path / "clean", KEY).read_bytes()


def test_a_pack_that_is_a_fifo_does_not_hang(layout, good, tmp_path):
    os.mkfifo(place(tmp_path / "store", KEY))
    assert build(layout, tmp_path / "x.sif", tmp_path / "store")[0] == good
    assert stat.S_ISREG(place(tmp_path / "store", KEY).stat().st_mode)
