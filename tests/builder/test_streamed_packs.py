"""Packs of layers that come by before their image is known, beside packs that are made in the usual way."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sifmake.builder import image_build
from sifmake.builder.streamed_packs import StreamedPacks
from sifmake.errors import LimitError, SifmakeError
from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.oci import parse_platform
from sifmake.progress import Silent
from sifmake.sources import open_source
from sifmake.store import Store
from support.engine import Engine
from support.images import Blobs, plain_tar, write_docker_archive, write_layout, write_oci_archive
from support.layers import file, folder, tar
from support.project import Folder
from support.pulling import settings

LAYERS = [
    tar(folder("bin/"), file("bin/sh", b"#!" * 50_000), file("a", b"a" * 200_000)),
    tar(file("b", b"b"), file(".wh.a")),
    tar(*[file(f"many/{n}", b"%d" % n * n) for n in range(500)]),
]


@pytest.fixture
def blobs():
    return Blobs()


@pytest.fixture
def image(blobs):
    return blobs.image(LAYERS)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def files_of(store):
    return {path.name: path.read_bytes() for path in store.root.glob("packs/*/*")}


def fetch(uri, store, compression="gzip", environ=None, limits=DEFAULT_LIMITS):
    sink = StreamedPacks(store, compression, limits, Silent())
    source = open_source(uri, settings(sink=sink, environ=environ or {}))
    try:
        found = source.image(source.resolve(parse_platform("amd64"), store.blobs).manifest_digest)
        image_build.close_packs(image_build.fetch_packs(source, found, store, compression, limits, Silent()))
    finally:
        source.close()
    return files_of(store)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("form", ["docker", "docker-inner-gzip", "oci", "oci-plain-layers"])
def test_packs_are_those_that_a_folder_gives(tmp_path, blobs, form, compression):
    image = blobs.image(LAYERS, compression="none" if form == "oci-plain-layers" else "gzip")
    if form.startswith("oci"):
        uri = f"oci-archive:{write_oci_archive(tmp_path / 'x', blobs, [image], compression='zstd')}"
    else:
        inner = "gzip" if form == "docker-inner-gzip" else "none"
        path = write_docker_archive(tmp_path / "x", blobs, {"x:1": image}, compression="gzip", inner=inner)
        uri = f"docker-archive:{path}"
    write_layout(tmp_path / "layout", blobs, [image])
    expected = fetch(f"oci:{tmp_path}/layout", Store(tmp_path / "one"), compression)
    assert len(expected) == 3
    store = Store(tmp_path / "other")
    assert fetch(uri, store, compression) == expected
    assert not list((store.root / "tmp").iterdir())


def test_what_the_store_has_is_not_packed_again(tmp_path, blobs, image):
    store = Store(tmp_path / "store")
    path = write_docker_archive(tmp_path / "x", blobs, {"x:1": image}, compression="gzip")
    before = fetch(f"docker-archive:{path}", store)
    stamps = {item: item.stat().st_ino for item in store.root.glob("packs/*/*")}
    path = write_docker_archive(tmp_path / "x", blobs, {"x:1": blobs.image([*LAYERS, tar(file("c", b"c"))])})
    path.write_bytes(gzip.compress(path.read_bytes()))
    after = fetch(f"docker-archive:{path}", store)
    assert len(after) == 4
    assert before.items() < after.items()
    assert stamps.items() <= {item: item.stat().st_ino for item in store.root.glob("packs/*/*")}.items()


def test_a_member_that_bears_the_name_of_another_layer(tmp_path, blobs, image):
    """The name is a hint only: what is in the member counts."""
    store = Store(tmp_path / "store")
    write_layout(tmp_path / "layout", blobs, [image])
    fetch(f"oci:{tmp_path}/layout", store)
    stored = blobs.document(blobs.document(image)["config"])["rootfs"]["diff_ids"][0].partition(":")[2]
    other = tar(file("other", b"o" * 1000))
    config = blobs[blobs.document(blobs.image([other]))["config"]["digest"]]
    manifest = json.dumps([{"Config": "c", "Layers": [f"{stored}/layer.tar"]}]).encode()
    members = {f"{stored}/layer.tar": other, "c": config, "manifest.json": manifest}
    (tmp_path / "x").write_bytes(gzip.compress(plain_tar(members)))
    assert len(fetch(f"docker-archive:{tmp_path}/x", store)) == 4


def test_nothing_is_kept_of_an_archive_with_a_wrong_layer(tmp_path, blobs, image):
    layer = blobs.document(image)["layers"][2]["digest"]
    blobs.data[layer] = blobs.data[layer][:-20]
    store = Store(tmp_path / "store")
    path = write_oci_archive(tmp_path / "x", blobs, [image], compression="gzip")
    with pytest.raises(SifmakeError, match=f"oci-archive:.*: layer {layer}"):
        fetch(f"oci-archive:{path}", store)
    assert files_of(store) == {}
    assert not list((store.root / "tmp").iterdir())


def test_an_engine_exports_once(tmp_path, blobs, image):
    with Engine(tmp_path / "docker.sock") as engine_api:
        identity = blobs.document(image)["config"]["digest"]
        archive = write_docker_archive(tmp_path / "x.tar", blobs, {"org/x:1": image}).read_bytes()
        engine_api.images["org/x:1"] = (identity, archive)
        store, environ = Store(tmp_path / "store"), {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}
        packs = fetch("docker-daemon:org/x:1", store, environ=environ)
        assert engine_api.log == ["/images/org/x:1/json", "/images/org/x:1/get"]
        write_layout(tmp_path / "layout", blobs, [image])
        assert packs == fetch(f"oci:{tmp_path}/layout", Store(tmp_path / "other"))


@pytest.mark.parametrize("engine_name", ["doit", "snakemake"])
def test_a_project_lets_an_engine_export_once(tmp_path, blobs, image, engine_name):
    """The export goes by when the image is locked; the stages after that find packs and documents in the store."""
    with Engine(tmp_path / "docker.sock") as engine_api:
        identity = blobs.document(image)["config"]["digest"]
        archive = write_docker_archive(tmp_path / "x.tar", blobs, {"org/x:1": image}).read_bytes()
        engine_api.images["org/x:1"] = (identity, archive)
        environ = {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}
        images = {"x": {"from": "docker-daemon:org/x:1"}}
        project = Folder(tmp_path / "project", tmp_path / "home", images=images, environ=environ)
        project.write()
        project.run("sifmake", "lock")
        project.build(engine_name)
        assert project.target("x").is_file()
        assert engine_api.log.count("/images/org/x:1/get") == 1


def test_a_pipe_becomes_a_sif(tmp_path, blobs, image):
    archive = write_docker_archive(tmp_path / "x.tar", blobs, {"org/x:1": image}, compression="gzip")
    store = Store(tmp_path / "store")
    words = [sys.executable, "-m", "sifmake", "pull", "piped.sif", "docker-archive:/dev/stdin"]
    environ = {**os.environ, "SIFMAKE_CACHE": str(store.root)}
    with archive.open("rb") as saved, subprocess.Popen(["cat"], stdin=saved, stdout=subprocess.PIPE) as cat:
        subprocess.run(words, stdin=cat.stdout, check=True, cwd=tmp_path, env=environ)
    assert (tmp_path / "piped.sif").is_file()
    write_layout(tmp_path / "layout", blobs, [image])
    assert files_of(store) == fetch(f"oci:{tmp_path}/layout", Store(tmp_path / "other"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_stream_leaves_no_pack(tmp_path, blobs, image, number):
    data = write_docker_archive(tmp_path / "x.tar", blobs, {"org/x:1": image}).read_bytes()
    store = tmp_path / "store"
    words = [sys.executable, "-m", "sifmake", "pull", "x.sif", "docker-archive:/dev/stdin"]
    environ = {**os.environ, "SIFMAKE_CACHE": str(store)}
    read, write = os.pipe()
    with subprocess.Popen(words, stdin=read, cwd=tmp_path, env=environ, stderr=subprocess.DEVNULL) as pulling:
        os.close(read)
        os.write(write, data[:60_000])
        wait_until(lambda: list(store.glob("tmp/*")))
        pulling.send_signal(number)
        assert pulling.wait(60) != 0
    os.close(write)
    assert not list(store.glob("packs/*/*"))
    assert not (tmp_path / "x.sif").exists()
    left = list(store.glob("tmp/*"))
    assert len(left) == (1 if number == signal.SIGKILL else 0)


def test_an_interrupt_ends_an_export_that_a_lock_waits_for(tmp_path, blobs, image):
    archive = write_docker_archive(tmp_path / "x.tar", blobs, {"org/x:1": image}).read_bytes()
    with Engine(tmp_path / "docker.sock") as engine_api:
        engine_api.images["org/x:1"] = (blobs.document(image)["config"]["digest"], archive)
        engine_api.pause = 0.5
        images = {"x": {"from": "docker-daemon:org/x:1"}}
        environ = {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}
        project = Folder(tmp_path / "project", tmp_path / "home", images=images, environ=environ)
        project.write()
        locking = project.start("sifmake", "lock")
        wait_until(lambda: list((tmp_path / "home").glob("store/tmp/*")))
        began = time.monotonic()
        locking.send_signal(signal.SIGINT)
        locking.communicate(timeout=60)
        assert locking.returncode == 130
        assert time.monotonic() - began < len(archive) / 1000 * engine_api.pause / 4
    assert not list((tmp_path / "home").glob("store/tmp/*"))


def test_all_layers_that_come_by_share_one_budget(tmp_path, blobs):
    """Of an archive that is compressed as a whole its own size counts, not that of the layers in it."""
    many = [tar(*[file(f"{top}/{at:06}", b"") for at in range(3000)]) for top in "abcd"]
    path = write_docker_archive(tmp_path / "x", blobs, {"x:1": blobs.image(many)}, compression="gzip")
    store = Store(tmp_path / "store")
    with pytest.raises(LimitError, match="layer-listing-bytes"):
        fetch(f"docker-archive:{path}", store, limits=Limits(layer_listing_bytes=4 << 20))
    assert not list(tmp_path.rglob(".tmp-*"))
    assert len(fetch(f"docker-archive:{path}", store, limits=Limits(layer_listing_bytes=8 << 20))) == 4
