"""Images that are given back: the same config and DiffIDs, and the same digests where that is possible."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
from pathlib import Path

import pytest

import sifmake
from sifmake.cli.main import main
from sifmake.errors import OutputPathError, PackDamagedError, UsageError
from sifmake.temporaries import temporary_name
from support.images import Blobs, digest_of, write_docker_archive, write_layout
from support.layers import file, folder, hardlink, symlink, tar
from support.packs import as_first_format, tamper
from support.umoci import needs_umoci

NOISE = random.Random(5).randbytes(1_500_000)
BASE = tar(
    folder("bin"), file("bin/sh", b"#!/bin/sh\n" * 500, mode=0o755), symlink("sh", "bin/sh"), file("noise", NOISE)
)
TOP = tar(file("etc/motd", b"hello"), file(".wh.noise"), hardlink("bin/bash", "bin/sh")) + b"junk behind the end" * 50


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)


def layout(name="layout", **options):
    """Write the image into a layout; return its URI, and its manifest and blobs."""
    blobs = Blobs()
    image = blobs.image([BASE, TOP], config={"Cmd": ["sh"], "Labels": {"a": "é"}}, **options)
    write_layout(Path(name), blobs, {"1": image})
    return f"oci:{name}:1", image, blobs


def forget_layers(name="layout"):
    """Remove the big blobs of a layout: what is needed now has to come from the store."""
    for path in Path(name, "blobs/sha256").iterdir():
        if path.read_bytes()[:1] != b"{":
            path.unlink()


def read(folder):
    """Return the only manifest of a layout, and its blobs by digest."""
    blobs = {f"sha256:{path.name}": path.read_bytes() for path in Path(folder, "blobs/sha256").iterdir()}
    (entry,) = json.loads(Path(folder, "index.json").read_text())["manifests"]
    assert all(digest == digest_of(data) for digest, data in blobs.items())
    return json.loads(blobs[entry["digest"]]), blobs


@pytest.mark.parametrize("docker", [False, True])
def test_config_and_diff_ids_come_back_from_the_store(docker):
    uri, image, before = layout(docker=docker, manifest_changes={"annotations": {"kept": "yes"}})
    sifmake.pull(uri, "x.sif")
    forget_layers()
    done = sifmake.export(uri, "oci:out:a")
    manifest, blobs = read("out")
    old = before.document(image)
    assert manifest["config"] == old["config"]
    assert blobs[old["config"]["digest"]] == before[old["config"]["digest"]]
    assert [gzip.decompress(blobs[layer["digest"]]) for layer in manifest["layers"]] == [BASE, TOP]
    assert [layer["mediaType"] for layer in manifest["layers"]] == [layer["mediaType"] for layer in old["layers"]]
    assert (manifest["annotations"], manifest["mediaType"]) == (old["annotations"], old["mediaType"])
    assert (done.layers, done.renewed) == (2, 2)
    assert done.reference == f"oci:out:a@{done.digest}"
    again = sifmake.export(uri, "oci:other")
    assert again.digest == done.digest, "the same image gives the same bytes"
    assert read("other") == read("out")


def test_what_upstream_stored_plain_keeps_its_digests():
    uri, image, before = layout(compression="none")
    sifmake.pull(uri, "x.sif")
    forget_layers()
    done = sifmake.export(uri, "oci:out")
    assert (done.digest, done.renewed) == (image["digest"], 0)
    assert read("out")[1] == before.data


def test_what_the_target_has_keeps_its_digests():
    uri, image, before = layout()
    sifmake.pull(uri, "x.sif")
    other = sifmake.export(uri, "oci:layout:2")
    assert (other.digest, other.renewed) == (image["digest"], 0)
    entries = json.loads(Path("layout/index.json").read_text())["manifests"]
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries] == ["1", "2"]
    assert len(list(Path("layout/blobs/sha256").iterdir())) == len(before.data)


def test_one_layer_of_two_is_there():
    uri, image, before = layout()
    base = before.document(image)["layers"][0]
    target = Path("out/blobs/sha256", base["digest"][7:])
    target.parent.mkdir(parents=True)
    target.write_bytes(before[base["digest"]])
    done = sifmake.export(uri, "oci:out")
    assert (done.layers, done.renewed) == (2, 1)
    assert read("out")[0]["layers"][0] == base


def test_a_name_moves_to_the_new_image():
    uri, _, _ = layout()
    blobs = Blobs()
    write_layout(Path("out"), blobs, {"a": blobs.image([TOP]), "b": blobs.image([BASE])})
    done = sifmake.export(uri, "oci:out:a")
    entries = json.loads(Path("out/index.json").read_text())["manifests"]
    named = {entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in entries}
    assert sorted(named) == ["a", "b"]
    assert named["a"] == done.digest


def test_a_docker_archive_is_compressed():
    blobs = Blobs()
    write_docker_archive(Path("saved.tar"), blobs, {"x:1": blobs.image([BASE, TOP], compression="none")})
    done = sifmake.export("docker-archive:saved.tar", "oci:out")
    assert done.renewed == 2
    assert [gzip.decompress(read("out")[1][layer["digest"]]) for layer in read("out")[0]["layers"]] == [BASE, TOP]


def packs():
    return sorted(path for path in Path("store/packs").rglob("*-*") if path.is_file())


def test_a_layer_that_its_pack_cannot_give_comes_from_upstream():
    uri, image, before = layout()
    sifmake.pull(uri, "x.sif")
    for path in packs():
        path.rename(path.with_name(as_first_format(path)))
    done = sifmake.export(uri, "oci:out")
    assert (done.digest, done.renewed) == (image["digest"], 0)
    assert read("out")[1] == before.data


def test_a_pack_that_lies_gives_no_image():
    uri, _, _ = layout()
    sifmake.pull(uri, "x.sif")
    first, second = packs()
    tamper(first, lambda parts: parts["meta"].__setitem__("diff_id", f"sha256:{second.name[:64]}"))
    first.replace(second)
    with pytest.raises(PackDamagedError, match="holds another layer"):
        sifmake.export(uri, "oci:out")
    assert not Path("out/index.json").exists()


@pytest.mark.parametrize("target", ["out", "oci:", "oci-archive:x.tar", "docker://a/b"])
def test_other_targets_are_refused(target):
    with pytest.raises(UsageError, match="write oci:DIR:TAG"):
        sifmake.export(layout()[0], target)


def test_a_folder_of_something_else_is_left_alone():
    uri, _, _ = layout()
    Path("thesis").mkdir()
    Path("thesis/thesis.tex").write_text("x")
    with pytest.raises(OutputPathError, match="not an OCI layout"):
        sifmake.export(uri, "oci:thesis")
    with pytest.raises(OutputPathError, match="not a folder"):
        sifmake.export(uri, "oci:thesis/thesis.tex")
    Path("damaged").mkdir()
    Path("damaged/index.json").write_text('{"manifests": 7}')
    with pytest.raises(OutputPathError, match="not an OCI layout"):
        sifmake.export(uri, "oci:damaged")
    assert [path.name for path in Path("thesis").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("left", ["blobs", temporary_name("oci-layout")], ids=["blobs", "half a file"])
def test_what_a_killed_run_left_is_taken_over(left):
    uri, _, _ = layout()
    Path("out/blobs/sha256").mkdir(parents=True)
    Path("out", left).touch()
    assert sifmake.export(uri, "oci:out").layers == 2


def test_an_image_of_the_project_by_its_lock(capsys):
    uri, _, before = layout()
    Path("config").mkdir()
    Path("config/images.yaml").write_text(f"images: {{tool: {{from: '{uri}'}}}}\n")
    Path("sifmake.yaml").write_text("{}\n")
    assert main(["lock", "-q"]) == 0
    sifmake.pull(uri, "x.sif")
    forget_layers()
    capsys.readouterr()
    assert main(["export", "tool", "oci:out:tool"]) == 0
    said = capsys.readouterr().err
    assert "wrote oci:out:tool@sha256:" in said
    assert "2 of 2 layer(s) compressed again: config and DiffIDs are the same" in said
    assert [gzip.decompress(read("out")[1][layer["digest"]]) for layer in read("out")[0]["layers"]] == [BASE, TOP]
    assert main(["export", "--platform", "linux/arm64", "tool", "oci:out"]) == 2
    assert main(["export", "nothing", "oci:out"]) == 2
    assert "run `sifmake lock` first" in capsys.readouterr().err
    assert main(["export", "x.sif", "oci:out"]) == 2
    assert "a SIF file has no layers" in capsys.readouterr().err
    assert before


@needs_umoci
def test_umoci_unpacks_what_was_written():
    uri, _, _ = layout()
    sifmake.export(uri, "oci:out:a")
    subprocess.run(["umoci", "unpack", "--image", "out:a", "bundle"], check=True, capture_output=True)
    root = Path("bundle/rootfs")
    assert (root / "etc/motd").read_bytes() == b"hello"
    assert (root / "bin/bash").stat().st_ino == (root / "bin/sh").stat().st_ino
    assert not (root / "noise").exists()
