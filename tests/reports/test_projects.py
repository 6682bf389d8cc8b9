"""Reports about projects (rows h53 to h60): one image that fails, odd names, and what engines must forget."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from sifmake.drivers.rebuild import rebuild
from sifmake.errors import ConfigError
from sifmake.project.images import load_images
from sifmake.project.project import Project
from support.counting_registry import CountingRegistry
from support.images import Blobs, write_layout
from support.layers import file, tar
from support.project import Folder

if TYPE_CHECKING:
    from pathlib import Path


def layer(text: str) -> bytes:
    return tar(file("etc/motd", text.encode()))


def test_h53_h54_one_image_that_fails_stops_no_other_and_is_not_called_changed(tmp_path: Path) -> None:
    """Of three images one is newer, the tag of one is gone, and of one a layer."""
    blobs = Blobs()
    with CountingRegistry(blobs) as registry:
        names = ("newer", "untagged", "torn", "same")
        registry.tags = {f"ns/{name}:1": blobs.image([layer(name)]) for name in names}
        images = {name: {"from": f"docker://{registry.host}/ns/{name}:1"} for name in names}
        folder = Folder(tmp_path / "p", tmp_path, {"registries": {registry.host: {"plain-http": True}}}, images)
        folder.write()
        project = Project(folder.root)
        first = rebuild(project, 1)
        assert first
        assert not first.has_failed
        before = {name: folder.target(name).read_bytes() for name in names}
        registry.tags["ns/newer:1"] = blobs.image([layer("news")])
        del registry.tags["ns/untagged:1"]
        registry.tags["ns/torn:1"] = torn = blobs.image([layer("lost")])
        del blobs.data[blobs.document(torn)["layers"][0]["digest"]]
        with (folder.root / "results/digests.jsonl").open("a") as log:
            log.write('{"time": "20')  # a full disk has cut it
        second = rebuild(project, 1)
    assert second
    found = {image.name: (image.state, image.stage) for image in second.images}
    assert found == {
        "newer": ("rebuilt", ""),
        "untagged": ("failed", "lock"),
        "torn": ("failed", "pull"),
        "same": ("unchanged", ""),
    }
    assert second.has_failed
    assert all(image.error for image in second.images if image.state == "failed")
    lines = (folder.root / "results/digests.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines[-1:]] == ["newer"]
    after = {name: folder.target(name).read_bytes() for name in names}
    assert [name for name in names if after[name] != before[name]] == ["newer"]


@pytest.mark.parametrize("name", ["on", "no", "1.0", "010", "0x10", "2026-11-30", "null", "~"])
def test_h56_names_that_yaml_takes_for_something_else(tmp_path: Path, name: str) -> None:
    path = tmp_path / "images.yaml"
    path.write_text(f"images:\n  a: {{from: docker://a}}\n  {name}: {{from: docker://a}}\n")
    with pytest.raises(ConfigError, match=rf':3: the key {name} is .* in YAML; write "{name}"'):
        load_images(path)


@pytest.mark.parametrize("name", ["n", "y"])
def test_h56_letters_are_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / "images.yaml"
    path.write_text(f"images:\n  {name}: {{from: docker://a}}\n")
    assert list(load_images(path)) == [name]


@pytest.fixture
def app(tmp_path: Path) -> Folder:
    blobs = Blobs()
    write_layout(tmp_path / "image", blobs, {"1": blobs.image([layer("hello")])})
    folder = Folder(tmp_path / "p", tmp_path, {}, {"a": {"from": f"oci:{tmp_path}/image:1"}})
    folder.write()
    return folder


def test_h60_doit_forgets_and_cleans_as_it_is_told(app: Folder) -> None:
    app.doit("pull_image")
    good, files = app.target("a").read_bytes(), app.files()
    app.doit("clean", "-n")
    assert app.files() == files
    assert "forgetting pull_image:a" in app.doit("forget")
    app.doit()
    assert app.files() == files, "records tell what is done, not doit's own file"
    assert "U sif:a" in app.doit("list", "--all", "--status")
    app.doit("run", "--always")
    assert app.target("a").read_bytes() == good
    app.doit("clean")
    assert not app.target("a").exists()
    app.doit()
    assert app.target("a").read_bytes() == good


def test_h60_snakemake_deletes_and_forgets_as_it_is_told(app: Folder) -> None:
    app.snakemake()
    good = app.target("a").read_bytes()
    app.snakemake("--delete-all-output")
    assert not app.target("a").exists()
    shutil.rmtree(app.root / ".snakemake")
    app.snakemake()
    assert app.target("a").read_bytes() == good
