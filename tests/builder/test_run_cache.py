"""The SIF of an image to run: found in the store by its manifest's digest, with as few questions as can be."""

from __future__ import annotations

import base64
import hashlib
import json
import os

import pytest

from sifmake.builder import run_cache
from sifmake.builder.run_cache import ImageToRun
from sifmake.cli.main import main
from sifmake.errors import IntegrityError, SourceError
from sifmake.oci.platform import host_platform
from sifmake.progress import Silent
from sifmake.store import Store
from support.counting_registry import CountingRegistry
from support.images import Blobs, write_layout
from support.layers import file, tar
from support.registry import FakeRegistry, TokenAuth


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def registry():
    """A registry with two images, of which ``1`` and ``same`` name one."""
    blobs = Blobs()
    one = blobs.image([tar(file("bin/one", b"1" * 5000))])
    two = blobs.image([tar(file("bin/two", b"2" * 5000))])
    with CountingRegistry(blobs) as running:
        running.tags.update({"ns/tool:1": one, "ns/tool:same": one, "ns/tool:2": two})
        yield running


def find_or_build(wanted, progress):
    """Return where the SIF is."""
    found = run_cache.find_or_build(wanted, progress)
    found.close()
    return found.path


def wanted(registry, what, **options):
    return ImageToRun(f"docker://{registry.host}/ns/tool{what}", plain_http=True, **options)


def test_a1_one_question_once_it_is_there(registry):
    first = find_or_build(wanted(registry, ":1"), Silent())
    assert first.read_bytes()[32:41] == b"SIF_MAGIC"
    registry.forget()
    assert find_or_build(wanted(registry, ":1"), Silent()) == first
    assert registry.counts() == {"HEAD manifest": 1}
    assert find_or_build(wanted(registry, ":same"), Silent()) == first
    assert find_or_build(wanted(registry, ":2"), Silent()) != first


def test_no_question_for_a_digest_or_offline(registry):
    digest = registry.tags["ns/tool:1"]["digest"]
    first = find_or_build(wanted(registry, f":1@{digest}"), Silent())
    find_or_build(wanted(registry, ":1"), Silent())
    registry.forget()
    assert find_or_build(wanted(registry, f"@{digest}"), Silent()) == first
    assert find_or_build(wanted(registry, ":1", offline=True), Silent()) == first
    assert registry.counts() == {}
    with pytest.raises(SourceError, match="is not in the store, and the run is offline"):
        find_or_build(wanted(registry, ":2", offline=True), Silent())


def test_a_tag_that_moved_is_another_file(registry):
    first = find_or_build(wanted(registry, ":1"), Silent())
    registry.tags["ns/tool:1"] = registry.tags["ns/tool:2"]
    second = find_or_build(wanted(registry, ":1"), Silent())
    assert second != first
    assert find_or_build(wanted(registry, ":1", offline=True), Silent()) == second


def test_a_layout_that_changed_is_another_file(tmp_path):
    for content in (b"old", b"new"):
        blobs = Blobs()
        layout = write_layout(tmp_path / "layout", blobs, [blobs.image([tar(file("x", content))])])
        path = find_or_build(ImageToRun(f"oci:{layout}"), Silent())
        assert path.is_file()
    assert len(list(path.parents[1].rglob("*.sif"))) == 2


def test_a20_a21_the_projects_registries_and_credentials_count(tmp_path, monkeypatch):
    """What ``pull`` needs of the configuration ``exec`` needs too: mirrors, authorities, passwords, limits, store."""
    with FakeRegistry() as registry:
        TokenAuth(registry, user="Basic " + base64.b64encode(b"alice:word").decode())
        registry.tag("org/image", "1", registry.blobs.image([tar(file("bin/one", b"1"))]))
        configure(tmp_path, registry.host)
        monkeypatch.chdir(tmp_path)
        path = find_or_build(ImageToRun("docker://registry.invalid/org/image:1"), Silent())
    assert path.is_relative_to(tmp_path / "own")


def configure(folder, mirror):
    (folder / "auth.json").write_text(json.dumps({"auths": {mirror: {"username": "alice", "password": "word"}}}))
    configuration = {
        "store": {"path": "own"},
        "key": "no-such-key.pem",
        "auth-file": "auth.json",
        "registries": {"registry.invalid": {"mirrors": [mirror]}},
    }
    (folder / "config").mkdir()
    (folder / "config/config.yaml").write_text(json.dumps(configuration))


@pytest.fixture
def pulled(registry, tmp_path, monkeypatch):
    """``ns/tool:multi`` is an index; it was pulled, and the registry has gone."""
    monkeypatch.chdir(tmp_path)
    blobs = registry.blobs
    other = blobs.image([tar(file("bin/other", b"o"))], platform="linux/s390x")
    registry.tags["ns/tool:multi"] = blobs.index([other, registry.tags["ns/tool:1"]])
    for tag in ("multi", "2"):
        assert main(["pull", "--no-https", f"{tag}.sif", f"docker://{registry.host}/ns/tool:{tag}"]) == 0
    registry.down = True
    registry.forget()
    return registry


@pytest.mark.parametrize("what", [":multi", "@INDEX", ":multi@INDEX", ":9@INDEX", "@MANIFEST", ":1@MANIFEST"])
def test_h46_what_was_pulled_runs_offline(pulled, what):
    index, manifest = (pulled.tags[f"ns/tool:{tag}"]["digest"] for tag in ("multi", "1"))
    what = what.replace("INDEX", index).replace("MANIFEST", manifest)
    for _ in range(2):
        path = find_or_build(wanted(pulled, what, offline=True), Silent())
        assert bytes(path.read_bytes())[32:41] == b"SIF_MAGIC"
        assert manifest.encode() in path.read_bytes()


def test_h46_the_name_may_be_written_in_other_ways(pulled, monkeypatch):
    monkeypatch.setattr("sifmake.reference.reference.DEFAULT_TAG", "multi")
    assert find_or_build(wanted(pulled, "", offline=True), Silent()).is_file()


@pytest.mark.parametrize("what", [":1", ":other", f"@sha256:{'0' * 64}"])
def test_h46_what_was_not_pulled_does_not(pulled, what):
    with pytest.raises(
        SourceError, match=r"is not in the store, and the run is offline; run the command once with network access"
    ):
        find_or_build(wanted(pulled, what, offline=True), Silent())


def test_h46_what_the_store_has_lost_is_said_to_be_lacking(pulled, store):
    for pack in (store / "packs").rglob("*-*"):
        pack.unlink()
    with pytest.raises(SourceError, match="is not in the store, and the run is offline"):
        find_or_build(wanted(pulled, ":multi", offline=True), Silent())
    assert pulled.requests == []


def test_h46_a_note_cannot_give_another_image_than_the_digest(pulled, store):
    index, other = (pulled.tags[f"ns/tool:{tag}"]["digest"] for tag in ("multi", "2"))
    Store(store).blobs.remember_manifest(index, host_platform(), other)
    path = find_or_build(wanted(pulled, f"@{index}", offline=True), Silent())
    assert pulled.tags["ns/tool:1"]["digest"].encode() in path.read_bytes()


def test_a_damaged_note_counts_as_none(pulled, store):
    """It has the form of a note and names a file whose name begins with no digest."""
    find_or_build(wanted(pulled, ":2", offline=True), Silent())
    for note in [path for path in (store / "names").rglob("*") if path.is_file()]:
        note.write_text("g" + note.read_text()[1:])
    with pytest.raises(SourceError, match="is not in the store, and the run is offline"):
        find_or_build(wanted(pulled, ":2", offline=True), Silent())


def test_what_a_run_does_not_wait_for_comes_after_every_check(registry, store):
    """The file is complete, open and has its SHA-256; its name and the notes on it are what is left to do."""
    left = []

    def leave(work):
        left.append((work, [path.suffix for path in store.rglob("*.sif")], list(store.glob("names/*/*"))))
        work()
        return True

    found = run_cache.find_or_build(wanted(registry, ":1"), Silent(), later=leave)
    data = os.pread(found.fd, 1 << 20, 0)
    found.close()
    [(_, sifs, notes)] = left
    assert (sifs, notes) == ([], [])
    assert found.path.read_bytes() == data
    assert found.path.name.split(".")[1] == hashlib.sha256(data).hexdigest()
    assert find_or_build(wanted(registry, ":1", offline=True), Silent()) == found.path


def test_nothing_is_left_to_do_for_a_layer_with_a_wrong_diff_id(registry):
    blobs = registry.blobs
    wrong = {"rootfs": {"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"]}}
    registry.tags["ns/tool:wrong"] = blobs.image([tar(file("bin/one", b"1"))], config_changes=wrong)
    with pytest.raises(IntegrityError, match="wrong digest"):
        run_cache.find_or_build(wanted(registry, ":wrong"), Silent(), later=pytest.fail)
