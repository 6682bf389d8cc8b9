"""Updates of SIF files by Debian's docker-registry, which has no referrers API: bytes and requests, peers' view."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess

import pytest

from sifmake.cli.main import main
from support.docker_registry import needs_registry, running
from support.images import Blobs, write_layout
from support.layers import file, folder, tar

pytestmark = needs_registry
VERSIONS = ("1", "2")


@pytest.fixture(scope="module")
def sifs(tmp_path_factory):
    """Build both versions of an image: 6 MB in a layer that stays and a small layer above it that changes."""
    noise = random.Random(5)
    below = tar(folder("usr"), *(file(f"usr/f{number}", noise.randbytes(100_000)) for number in range(60)))
    above = [tar(folder("opt"), file("opt/tool", noise.randbytes(150_000 + 7 * number))) for number in range(2)]
    blobs = Blobs()
    images = [blobs.image([below, layer]) for layer in above]
    room = tmp_path_factory.mktemp("sifs")
    layout = write_layout(room / "layout", blobs, dict(zip(VERSIONS, images, strict=True)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIFMAKE_CACHE", str(room / "store"))
        for version in VERSIONS:
            assert main(["-q", "pull", str(room / f"{version}.sif"), f"oci:{layout}:{version}"]) == 0
    return room


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sent(registry, since: int) -> list[tuple[str, int, int]]:
    """Return what was sent from blobs: digest, status and bytes."""
    log = registry.log.read_text(errors="replace")[since:]
    found = re.findall(r'"GET /v2/\S+/blobs/(\S+) HTTP/1.1" (\d+) (\d+)', log)
    return [(digest, int(status), int(size)) for digest, status, size in found]


def test_a_changed_layer_moves_little_and_peers_see_the_same_artifact(sifs, place):
    with running(place) as registry:
        uri = f"oras://{registry.host}/org/tool:1"
        assert main(["-q", "push", "--no-recipe", str(sifs / "2.sif"), uri]) == 0
        before = manifest_of(registry)
        assert main(["-q", "push", str(sifs / "1.sif"), uri]) == 0
        assert main(["-q", "pull", "x.sif", uri]) == 0
        assert main(["-q", "push", str(sifs / "2.sif"), uri]) == 0
        assert manifest_of(registry) == before
        layers = json.loads(before)["layers"]
        assert [layer["mediaType"] for layer in layers] == ["application/vnd.sylabs.sif.layer.v1.sif"]
        since = len(registry.log.read_text(errors="replace"))
        assert main(["-q", "pull", "-F", "x.sif", uri]) == 0
        blobs = sent(registry, since)
    assert (place / "x.sif").read_bytes() == (sifs / "2.sif").read_bytes()
    parts = [size for digest, status, size in blobs if digest == layers[0]["digest"] and status == 206]
    assert len(parts) == len(blobs) - 1, "all but the recipe"
    assert len(parts) <= 4
    assert 150_000 < sum(size for _, _, size in blobs) < 700_000


def manifest_of(registry) -> bytes:
    """Return the manifest as skopeo sees it, if it is installed, else as the registry sends it."""
    if not shutil.which("skopeo"):
        pytest.skip("needs skopeo")
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/org/tool:1"]
    return subprocess.run(command, capture_output=True, check=True).stdout
