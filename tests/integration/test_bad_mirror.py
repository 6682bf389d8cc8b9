"""A mirror with wrong bytes before Debian's docker-registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from support.docker_registry import needs_registry, running
from support.images import Blobs, write_layout
from support.layers import file, tar
from support.registry import Answer, FakeRegistry

pytestmark = needs_registry
LAYERS = [tar(file(name, name.encode() * 40_000)) for name in ("one", "two", "three")]


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    blobs = Blobs()
    image = blobs.image(LAYERS)
    layout = write_layout(tmp_path_factory.mktemp("layout"), blobs, {"t": image})
    with running(tmp_path_factory.mktemp("registry")) as registry:
        registry.push(f"oci:{layout}:t", "org/image:1")
        yield registry, blobs, image


@pytest.fixture
def mirror(origin):
    _, blobs, image = origin
    with FakeRegistry() as mirror:
        mirror.blobs = blobs
        mirror.tag("org/image", "1", image)
        yield mirror


def pull(folder, host, mirrors):
    """Run ``sifmake pull`` in a project with mirrors of a host; return status, SIF and the lines of standard error."""
    (folder / "config").mkdir(parents=True)
    options = {"registries": {host: {"plain-http": True, "mirrors": mirrors}}}
    (folder / "config/config.yaml").write_text(json.dumps(options))
    words = [sys.executable, "-m", "sifmake", "--quiet", "pull", "x.sif", f"docker://{host}/org/image:1"]
    environ = {**os.environ, "HOME": str(folder), "SIFMAKE_CACHE": str(folder / "store")}
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)
    target = folder / "x.sif"
    return done.returncode, target.read_bytes() if target.exists() else b"", done.stderr.splitlines()


WRONG = {
    "digest": lambda data: Answer(200, data[:-9] + b"x" + data[-8:]),
    "cut short": lambda data: Answer(200, data[:100], unsized=True),
    "longer": lambda data: Answer(200, data + b"more", unsized=True),
    "garbage": lambda data: Answer(200, b"<html>".ljust(len(data))),
}


@pytest.mark.parametrize("how", WRONG.values(), ids=WRONG.keys())
def test_a21_the_image_is_whole_all_the_same(origin, mirror, tmp_path, how):
    registry, blobs, image = origin
    layer = blobs.document(image)["layers"][1]["digest"]
    mirror.on("GET", layer, how(blobs[layer]))
    before = len(registry.requests("GET", layer))
    status, sif, lines = pull(tmp_path / "mirrored", registry.host, [mirror.host])
    assert status == 0
    assert [f"skipping the mirror {mirror.host}: " in line for line in lines] == [True]
    assert len(registry.requests("GET", layer)) == before + 1
    assert pull(tmp_path / "direct", registry.host, []) == (0, sif, [])


def test_a21_when_the_registry_is_damaged_too_the_pull_fails(origin, mirror, tmp_path):
    registry, blobs, image = origin
    layer = blobs.document(image)["layers"][2]["digest"]
    mirror.on("GET", layer, WRONG["digest"](blobs[layer]))
    (path,) = registry.log.parent.glob(f"storage/**/{layer.split(':')[1]}/data")
    data = path.read_bytes()
    path.write_bytes(b"\0" * len(data))
    try:
        status, sif, lines = pull(tmp_path, registry.host, [mirror.host])
    finally:
        path.write_bytes(data)
    assert (status, sif, len(lines)) == (1, b"", 2)
    assert f"skipping the mirror {mirror.host}" in lines[0]
    assert "blob has the wrong digest" in lines[1]
