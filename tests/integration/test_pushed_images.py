"""Images that `sifmake push` gives back to Debian's docker-registry, read by skopeo."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest

import sifmake
from sifmake.cli.main import main
from sifmake.errors import UsageError
from support.definition_projects import Definitions
from support.docker_registry import needs_registry, running
from support.images import Blobs, write_layout
from support.layers import file, folder, tar

pytestmark = needs_registry
LAYERS = [tar(folder("bin"), file("bin/sh", b"#!/bin/sh\n" * 500)), tar(file("etc/motd", b"hello")) + b"junk" * 200]


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with running(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)


def layout(**options):
    """Write an image into a layout; return its URI, and its manifest and blobs."""
    blobs = Blobs()
    image = blobs.image(LAYERS, config={"Cmd": ["sh"]}, **options)
    write_layout(Path("layout"), blobs, {"1": image})
    return "oci:layout:1", image, blobs


def skopeo(*words):
    return subprocess.run(["skopeo", *words], check=True, capture_output=True).stdout


@pytest.mark.parametrize("docker", [False, True])
def test_an_image_is_pushed_and_read_by_skopeo(registry, docker, capsys):
    uri, image, before = layout(docker=docker)
    sifmake.pull(uri, "x.sif")
    for layer in before.document(image)["layers"]:
        Path("layout/blobs/sha256", layer["digest"][7:]).unlink()  # so that it has to come from the store
    target = f"docker://{registry.host}/given/{'docker' if docker else 'oci'}:1"
    assert main(["push", "--no-https", uri, target]) == 0
    said = capsys.readouterr().err
    assert f"pushed {target}@sha256:" in said
    assert "digests of blobs and manifest are new" in said
    manifest = json.loads(skopeo("inspect", "--tls-verify=false", "--raw", target))
    assert manifest["config"] == before.document(image)["config"]
    skopeo("copy", "--src-tls-verify=false", target, "dir:copy")
    blobs = [Path("copy", layer["digest"][7:]).read_bytes() for layer in manifest["layers"]]
    assert [gzip.decompress(blob) for blob in blobs] == LAYERS


def test_a_registry_with_the_blobs_gets_the_same_manifest(registry):
    uri, image, before = layout()
    registry.push(uri, "has/it:1")
    place = f"docker://{registry.host}/has/it:2"
    done = sifmake.push_image(uri, place, plain_http=True)
    assert (done.digest, done.renewed) == (image["digest"], 0)
    assert skopeo("inspect", "--tls-verify=false", "--raw", place) == before[image["digest"]]


def test_of_an_image_with_a_digest_nothing_is_asked(registry):
    uri, image, _ = layout()
    registry.push(uri, "pinned:1")
    pinned = f"docker://{registry.host}/pinned@{image['digest']}"
    sifmake.pull(pinned, "x.sif", plain_http=True)
    before = len(registry.requests("[A-Z]+", "pinned"))
    assert sifmake.export(pinned, "oci:out", plain_http=True).renewed == 2
    assert len(registry.requests("[A-Z]+", "pinned")) == before


def test_a_digest_names_nothing_to_push_to(registry):
    target = f"docker://{registry.host}/x@sha256:{'0' * 64}"
    with pytest.raises(UsageError, match="not a place for an image"):
        sifmake.push_image(layout()[0], target, plain_http=True)


def test_a_file_goes_to_oras_only(registry, capsys):
    sifmake.pull(layout()[0], "x.sif")
    assert main(["push", "--no-https", "x.sif", f"docker://{registry.host}/x:1"]) == 2
    assert f"write oras://{registry.host}/x:1" in capsys.readouterr().err


def test_an_image_that_was_built_is_pushed_and_unpacked_by_others(registry, tmp_path):
    made = Definitions(tmp_path / "p")
    (made.root / "note").write_text("note\n")
    made.define("tool", "%files\n    note /opt/note\n%labels\n    own label", "Bootstrap: scratch", sign=False)
    assert made.lock() == {"tool": "there was no lock"}
    target = f"docker://{registry.host}/built/tool:1"
    assert main(["push", "--no-https", "--root", str(made.root), "tool", target]) == 0
    shown = json.loads(skopeo("inspect", "--tls-verify=false", target))
    assert shown["Labels"]["own"] == "label"
    assert len(shown["Layers"]) == 2
    sifmake.pull(target, "again.sif", plain_http=True)
    assert sifmake.inspect("again.sif").labels["own"] == "label"
