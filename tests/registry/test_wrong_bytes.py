"""Mirrors that send wrong bytes: found out by the digest and passed over by name; the registry is asked instead."""

from __future__ import annotations

import json
import random

import pytest

from sifmake.builder.image_build import close_packs, fetch_packs
from sifmake.cli.main import main
from sifmake.errors import IntegrityError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci import parse_platform
from sifmake.registry import HostSettings
from sifmake.sources import open_sif_source, open_source
from sifmake.store import Store
from support.images import digest_of
from support.layers import file, tar
from support.pulling import Memory, Messages, settings
from support.registry import Answer, FakeRegistry

DICE = random.Random(11)
LAYERS = [tar(file("one", DICE.randbytes(300_000))), tar(file("two", DICE.randbytes(200_000)))]


@pytest.fixture
def registry():
    with FakeRegistry() as registry:
        registry.tag("org/image", "1", registry.blobs.image(LAYERS))
        yield registry


@pytest.fixture
def mirror(registry):
    with FakeRegistry() as mirror:
        mirror.blobs.data.update(registry.blobs.data)
        mirror.tag("org/image", "1", image_of(registry))
        yield mirror


def image_of(registry):
    return registry._tags["org/image", "1"]


def layers_of(registry):
    return [layer["digest"] for layer in registry.blobs.document(image_of(registry))["layers"]]


def flipped(data):
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


def fetch(registry, mirrors, folder, known=None):
    """Pull into packs and return what was warned of; packs are made only of bytes with the right digests."""
    told = Messages()
    registries = {registry.host: HostSettings(mirrors=tuple(mirror.host for mirror in mirrors))}
    source = open_source(f"docker://{registry.host}/org/image:1", settings(registries=registries, progress=told))
    try:
        image = source.image(source.resolve(parse_platform("amd64"), known).manifest_digest)
        packs = fetch_packs(source, image, Store(folder / "store"), "gzip", DEFAULT_LIMITS, told)
    finally:
        source.close()
    assert [pack.meta.diff_id for pack in packs] == [digest_of(raw) for raw in LAYERS]
    close_packs(packs)
    return told.warnings


WRONG = {
    "one byte": lambda data: Answer(200, flipped(data)),
    "garbage": lambda data: Answer(200, b"<html>".ljust(len(data), b" ")),
    "another layer": lambda data: Answer(200, data[::-1]),
    "cut short and announced so": lambda data: Answer(200, data[:5000]),
    "cut short and not announced": lambda data: Answer(200, data[:5000], unsized=True),
    "interrupted": lambda data: Answer(200, data, cut=5000),
    "longer and announced so": lambda data: Answer(200, data + b"more"),
    "longer than announced": lambda data: Answer(200, data + b"more", {"Content-Length": str(len(data))}),
    "longer and not announced": lambda data: Answer(200, data + b"more", unsized=True),
    "empty": lambda _: Answer(200, b""),
}


@pytest.mark.parametrize("how", WRONG.values(), ids=WRONG.keys())
def test_a21_wrong_bytes_of_a_layer_are_fetched_from_the_registry(registry, mirror, tmp_path, how):
    layer = layers_of(registry)[0]
    mirror.on("GET", layer, how(registry.blobs[layer]))
    warnings = fetch(registry, [mirror], tmp_path)
    if warnings:
        assert len(warnings) == 1
        assert f"skipping the mirror {mirror.host}: " in warnings[0]
        assert registry.count("GET", layer) == 1
    else:  # the surplus behind the announced length was never read
        assert how is WRONG["longer than announced"]


def test_a21_each_mirror_is_tried_before_the_registry(registry, mirror, tmp_path):
    layer = layers_of(registry)[1]
    with FakeRegistry() as second:
        second.blobs.data.update(registry.blobs.data)
        second.on("GET", layer, Answer(200, registry.blobs[layer][::-1]))
        mirror.on("GET", layer, Answer(200, flipped(registry.blobs[layer])))
        warnings = fetch(registry, [mirror, second], tmp_path)
        assert [host in text for host, text in zip((mirror.host, second.host), warnings, strict=True)] == [True, True]
        assert (mirror.count("GET", layer), second.count("GET", layer), registry.count("GET", layer)) == (1, 1, 1)


def test_a21_a_layer_of_two_halves_is_fetched_whole_from_the_second_place(registry, mirror, tmp_path):
    layer = layers_of(registry)[0]
    mirror.on("GET", layer, Answer(200, flipped(registry.blobs[layer]), cut=100_000), times=1)
    mirror.on("GET", layer, Answer(503))
    warnings = fetch(registry, [mirror], tmp_path)
    assert ["range" in request.headers for request in registry.asked("GET", layer)] == [True, False]
    assert len([text for text in warnings if "skipping the mirror" in text]) == 1


@pytest.mark.parametrize("what", ["manifest", "config"])
def test_a21_a_wrong_document_comes_from_the_registry(registry, mirror, tmp_path, what):
    digest = image_of(registry)["digest"]
    digest = digest if what == "manifest" else registry.blobs.document(image_of(registry))["config"]["digest"]
    mirror.on("GET", digest, Answer(200, registry.blobs[digest].replace(b"amd64", b"amd65").replace(b"{", b"[", 1)))
    (warning,) = fetch(registry, [mirror], tmp_path, Memory(f"{registry.host}/org/image:1"))
    assert f"skipping the mirror {mirror.host}: " in warning
    assert registry.count("GET", digest) == 1


def test_a21_a_mirror_is_not_blamed_for_an_image_that_lies(mirror, registry, tmp_path):
    changes = {"rootfs": {"type": "layers", "diff_ids": [digest_of(b"other"), digest_of(LAYERS[1])]}}
    for each in (registry, mirror):
        each.tag("org/image", "1", each.blobs.image(LAYERS, config_changes=changes))
    with pytest.raises(IntegrityError, match="uncompressed layer has the wrong digest"):
        fetch(registry, [mirror], tmp_path)
    assert registry.count("GET") == 0


def test_a21_when_the_registry_is_wrong_too_one_line_says_so(registry, mirror, tmp_path, monkeypatch, capsys):
    layer = layers_of(registry)[0]
    for each in (registry, mirror):
        each.on("GET", layer, Answer(200, flipped(registry.blobs[layer])))
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(
        json.dumps({"registries": {registry.host: {"mirrors": [mirror.host]}}})
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    assert main(["--quiet", "pull", "x.sif", f"docker://{registry.host}/org/image:1"]) == 1
    warning, line = capsys.readouterr().err.splitlines()
    assert f"skipping the mirror {mirror.host}" in warning
    assert "blob has the wrong digest" in line
    assert not (tmp_path / "x.sif").exists()
    assert (mirror.count("GET", layer), registry.count("GET", layer)) == (1, 2)


def sif_artifact(registry, data):
    layer = registry.blobs.put(data, "application/vnd.sylabs.sif.layer.v1.sif")
    changes = {"config": registry.blobs.put(b"{}", "application/vnd.sylabs.sif.config.v1+json")}
    registry.tag("org/tool", "1", registry.blobs.image([], layer_descriptors=[layer], manifest_changes=changes))
    return layer["digest"]


@pytest.mark.parametrize("change", [flipped, lambda data: b"<html>".ljust(len(data))], ids=["one byte", "a page"])
def test_a21_a_wrong_sif_comes_from_the_registry(registry, mirror, tmp_path, change):
    data = b"#!x\n".ljust(32, b"\0") + b"SIF_MAGIC\0" + DICE.randbytes(50_000)
    digest = sif_artifact(registry, data)
    sif_artifact(mirror, data)
    mirror.on("GET", digest, Answer(200, change(data)))
    told = Messages()
    registries = {registry.host: HostSettings(mirrors=(mirror.host,))}
    source = open_sif_source(f"oras://{registry.host}/org/tool:1", settings(registries=registries, progress=told))
    assert source.fetch(tmp_path / "x.sif") == digest
    source.close()
    assert (tmp_path / "x.sif").read_bytes() == data
    assert [mirror.host in text for text in told.warnings] == [True]


def test_a21_a_document_that_is_not_what_its_answer_says_comes_from_the_registry(registry, mirror, tmp_path):
    good = registry.blobs[image_of(registry)["digest"]]
    headers = {"Docker-Content-Digest": image_of(registry)["digest"]}
    mirror.on("GET", "/manifests/1", Answer(200, good.replace(b"{", b"[", 1), headers))
    (warning,) = fetch(registry, [mirror], tmp_path)
    assert f"skipping the mirror {mirror.host}: " in warning
    assert registry.count("GET", "/manifests/1") == 1


def past_caches(requests):
    return ["cache-control" in request.headers for request in requests]


RESUMED = {"interrupted", "cut short and not announced"}
REPEATED = {name: how for name, how in WRONG.items() if name not in RESUMED}


@pytest.mark.parametrize("how", REPEATED.values(), ids=REPEATED.keys())
def test_wrong_bytes_of_a_layer_are_asked_for_once_more(registry, tmp_path, how):
    layer = layers_of(registry)[0]
    registry.on("GET", layer, how(registry.blobs[layer]), times=1)
    assert fetch(registry, [], tmp_path) == []
    if how is not WRONG["longer than announced"]:
        assert past_caches(registry.asked("GET", layer))[-1]


@pytest.mark.parametrize("change", [flipped, lambda data: data[:5000]], ids=["one byte", "too short"])
def test_bytes_that_stay_wrong_are_asked_for_twice_and_not_more(registry, tmp_path, change):
    layer = layers_of(registry)[0]
    registry.on("GET", layer, Answer(200, change(registry.blobs[layer])))
    with pytest.raises(IntegrityError, match=r"wrong digest|offers 5000 bytes"):
        fetch(registry, [], tmp_path)
    assert past_caches(registry.asked("GET", layer)) == [False, True]


@pytest.mark.parametrize("what", ["manifest", "config"])
@pytest.mark.parametrize("times", [1, 5])
def test_a_wrong_document_is_asked_for_once_more(registry, tmp_path, what, times):
    digest = image_of(registry)["digest"]
    digest = digest if what == "manifest" else registry.blobs.document(image_of(registry))["config"]["digest"]
    registry.on("GET", digest, Answer(200, registry.blobs[digest].replace(b"{", b"[", 1)), times=times)
    known = Memory(f"{registry.host}/org/image:1")
    if times == 1:
        assert fetch(registry, [], tmp_path, known) == []
    else:
        with pytest.raises(IntegrityError, match="digest"):
            fetch(registry, [], tmp_path, known)
    assert past_caches(registry.asked("GET", digest)) == [False, True]


def test_what_is_too_large_is_not_asked_for_again(registry, tmp_path):
    registry.on("GET", "/manifests/1", Answer(200, b" " * (DEFAULT_LIMITS.manifest_bytes + 1)))
    with pytest.raises(IntegrityError, match="more than"):
        fetch(registry, [], tmp_path)
    assert registry.count("GET", "/manifests/1") == 1


@pytest.mark.parametrize("times", [1, 5])
def test_a_wrong_sif_is_asked_for_once_more(registry, tmp_path, times):
    data = b"#!x\n".ljust(32, b"\0") + b"SIF_MAGIC\0" + DICE.randbytes(50_000)
    digest = sif_artifact(registry, data)
    registry.on("GET", "/file.sif", Answer(200, flipped(data)), times=times)
    registry.on("GET", "/file.sif", Answer(200, data))
    registry.on("GET", digest, Answer(200, flipped(data)), times=times)
    uris = [f"oras://{registry.host}/org/tool:1", f"http://{registry.host}/file.sif#{digest.replace(':', '=')}"]
    for uri, part in zip(uris, [digest, "/file.sif"], strict=True):
        source = open_sif_source(uri, settings(progress=Messages()))
        if times == 1:
            assert source.fetch(tmp_path / "x.sif") == digest
        else:
            with pytest.raises(IntegrityError):
                source.fetch(tmp_path / "y.sif")
        source.close()
        assert past_caches(registry.asked("GET", part)) == [False, True]
    assert not (tmp_path / "y.sif").exists()
