"""What the store knows of indexes is proven by the indexes themselves; whoever writes notes changes nothing."""

from __future__ import annotations

import gzip
import json

import pytest

from sifmake.builder.image_cache import ImageCache
from sifmake.builder.indexes import resolve_image
from sifmake.cli.main import main
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci import parse_platform
from sifmake.sources import open_source
from sifmake.store import Store
from support.counting_registry import CountingRegistry
from support.images import Blobs, write_layout, write_oci_archive
from support.layers import file, tar
from support.pulling import settings

AMD64, ARM64 = parse_platform("linux/amd64"), parse_platform("linux/arm64")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return Store.open()


@pytest.fixture
def registry():
    """``good`` is an index of two platforms, ``old`` another image that the store knows too."""
    blobs = Blobs()
    with CountingRegistry(blobs) as running:
        both = [blobs.image([tar(file("good", p.encode()))], platform=p) for p in ("linux/arm64", "linux/amd64")]
        running.tags["app:good"] = blobs.index([*both, blobs.attestation(both[1])])
        running.tags["app:nested"] = blobs.index([running.tags["app:good"]])
        running.tags["app:plain"] = both[1]
        running.tags["app:unnamed"] = blobs.index([{k: v for k, v in one.items() if k != "platform"} for one in both])
        running.tags["app:old"] = blobs.index([blobs.image([tar(file("old", b"old"))])])
        yield running


def resolve(store, registry, what, platform=AMD64):
    source = open_source(f"docker://{registry.host}/app{what}", settings())
    try:
        return resolve_image(ImageCache(store), source, platform, DEFAULT_LIMITS)
    finally:
        source.close()


def manifest_of(registry, tag, platform="amd64"):
    document = registry.blobs.document(registry.tags[tag])
    return next(one["digest"] for one in document["manifests"] if one["platform"]["architecture"] == platform)


@pytest.mark.parametrize("tag", ["good", "nested", "plain", "unnamed"])
def test_unchanged_is_one_head(store, registry, tag):
    first = resolve(store, registry, f":{tag}")
    assert first.manifest_digest == manifest_of(registry, "app:good")
    if tag == "unnamed":
        fetch(store, registry, f":{tag}")
    registry.forget()
    assert resolve(store, registry, f":{tag}") == first
    assert resolve(store, registry, f"@{first.digest}") == first
    assert registry.counts() == {"HEAD manifest": 1}


def fetch(store, registry, what):
    assert main(["pull", "-F", "--arch", "amd64", "out.sif", f"docker://{registry.host}/app{what}"]) == 0
    return (store.root.parent / "out.sif").read_bytes()


@pytest.mark.parametrize("tag", ["good", "nested", "plain"])
@pytest.mark.parametrize("lie", ["another image", "another platform", "nothing"])
def test_a_note_cannot_give_another_image(store, registry, tag, lie):
    good = fetch(store, registry, f":{tag}")
    fetch(store, registry, ":old")
    index = registry.tags[f"app:{tag}"]["digest"]
    told = {
        "another image": manifest_of(registry, "app:old"),
        "another platform": manifest_of(registry, "app:good", "arm64"),
        "nothing": f"sha256:{'0' * 64}",
    }[lie]
    store.blobs.remember_manifest(index, AMD64, told)
    registry.forget()
    assert fetch(store, registry, f":{tag}@{index}") == good
    assert registry.counts() == {}
    assert store.blobs.find_manifest(index, AMD64) == resolve(store, registry, f"@{index}").manifest_digest, "made good"


def test_a_note_among_entries_without_platform_cannot_give_another_one(store, registry):
    good = fetch(store, registry, ":unnamed")
    main(["pull", "--arch", "arm64", "arm.sif", f"docker://{registry.host}/app:unnamed"])
    index = registry.tags["app:unnamed"]["digest"]
    for told in (manifest_of(registry, "app:good", "arm64"), manifest_of(registry, "app:old")):
        store.blobs.remember_manifest(index, AMD64, told)
        assert fetch(store, registry, f":unnamed@{index}") == good


@pytest.mark.parametrize("damage", ["gone", "other bytes"])
def test_an_index_that_is_not_there_is_fetched_by_its_digest(store, registry, damage):
    good = fetch(store, registry, ":good")
    index = registry.tags["app:good"]["digest"]
    path = store.root / "blobs" / "sha256" / index[7:9] / index[7:]
    path.unlink() if damage == "gone" else path.write_bytes(b"{}")
    store.blobs.remember_manifest(index, AMD64, manifest_of(registry, "app:good", "arm64"))
    registry.forget()
    assert fetch(store, registry, f":good@{index}") == good
    assert registry.counts() == {"GET manifest": 1}
    assert path.read_bytes() == registry.blobs[index]


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
def test_indexes_of_layouts_are_kept_too(store, tmp_path, kind):
    blobs = Blobs()
    images = [blobs.image([tar(file("x", p.encode()))], platform=p) for p in ("linux/arm64", "linux/amd64")]
    index = blobs.index(images)
    path = (write_layout if kind == "oci" else write_oci_archive)(tmp_path / "image", blobs, {"1": index})
    source = open_source(f"{kind}:{path}:1", settings())
    resolved = resolve_image(ImageCache(store), source, AMD64, DEFAULT_LIMITS)
    assert (resolved.digest, resolved.manifest_digest) == (index["digest"], images[1]["digest"])
    assert store.blobs.get(index["digest"]) == blobs[index["digest"]]


def test_a_note_on_an_archive_whose_image_is_not_there_is_read_again(store, tmp_path):
    """A compressed archive is known by its place and time; a damaged note on it must not stay in the way."""
    blobs = Blobs()
    image = blobs.image([tar(file("x", b"x" * 1000))])
    path = write_oci_archive(tmp_path / "image.tar", blobs, {"1": image})
    (tmp_path / "image.tar.gz").write_bytes(gzip.compress(path.read_bytes()))
    uri = f"oci-archive:{tmp_path}/image.tar.gz:1"
    assert main(["pull", "--arch", "amd64", "one.sif", uri]) == 0
    for note in (store.root / "indexes").rglob("*-*"):
        note.write_text(f"sha256:{'0' * 64}\n")
    assert main(["pull", "--arch", "amd64", "two.sif", uri]) == 0
    assert (tmp_path / "one.sif").read_bytes() == (tmp_path / "two.sif").read_bytes()


@pytest.mark.parametrize("word", ["index", "manifest"])
def test_indexes_travel_with_their_images(store, registry, tmp_path, monkeypatch, word):
    fetch(store, registry, ":nested")
    fetch(store, registry, ":old")
    index, inner = (registry.tags[f"app:{tag}"]["digest"] for tag in ("nested", "good"))
    manifest = manifest_of(registry, "app:good")
    store.blobs.remember_manifest(index, ARM64, manifest_of(registry, "app:old"))
    assert main(["cache", "export", "image.tar", index if word == "index" else manifest]) == 0
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "there"))
    assert main(["cache", "import", "image.tar"]) == 0
    there = Store.open()
    assert there.blobs.get(index) == registry.blobs[index]
    assert there.blobs.get(inner) == registry.blobs[inner]
    assert there.blobs.get(manifest_of(registry, "app:old")) is None
    registry.forget()
    assert resolve(there, registry, f"@{index}").manifest_digest == manifest
    assert registry.counts() == {}
    assert json.loads(there.blobs.get(manifest))


@pytest.mark.parametrize("lie", ["another image", "another platform"])
def test_the_check_of_a_store_finds_notes_that_an_index_disproves(store, registry, capsys, lie):
    fetch(store, registry, ":nested")
    fetch(store, registry, ":old")
    assert main(["cache", "verify"]) == 0
    told = manifest_of(registry, "app:old") if lie == "another image" else manifest_of(registry, "app:good", "arm64")
    index = registry.tags["app:nested"]["digest"]
    store.blobs.remember_manifest(index, AMD64, told)
    capsys.readouterr()
    assert main(["cache", "verify"]) == 1
    assert "its index does not have this manifest" in capsys.readouterr().err
    assert store.blobs.find_manifest(index, AMD64) is None
    assert main(["cache", "verify"]) == 0
