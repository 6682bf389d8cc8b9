"""Finished SIF files: ``oras://``, ``https://``, local files (row a38)."""

from __future__ import annotations

import errno
import hashlib
import json
import os

import pytest

from sifmake.cli.main import main
from sifmake.errors import BadReferenceError, IntegrityError, SourceError
from sifmake.oci import Descriptor, parse_platform
from sifmake.progress import Silent
from sifmake.reference import parse_reference
from sifmake.sources import open_sif_source, open_source
from sifmake.sources.oras import push_sif, sif_manifest
from support.pulling import settings
from support.registry import Answer, FakeRegistry
from support.signing import write_sif

SIF = b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0" + bytes(range(256)) * 1000
DIGEST = f"sha256:{hashlib.sha256(SIF).hexdigest()}"
LAYER_TYPE = "application/vnd.sylabs.sif.layer.v1.sif"
CONFIG_TYPE = "application/vnd.sylabs.sif.config.v1+json"


@pytest.fixture
def registry():
    with FakeRegistry() as registry:
        yield registry


def artifact(registry, layers=None):
    config = registry.blobs.put(b"{}", CONFIG_TYPE)
    layers = layers or [registry.blobs.put(SIF, LAYER_TYPE)]
    manifest = registry.blobs.image([], layer_descriptors=layers, manifest_changes={"config": config})
    registry.tag("org/tool", "1", manifest)
    return manifest


def fetch(uri, path, expected="", **changes):
    source = open_sif_source(uri, settings(progress=Silent(), **changes))
    try:
        return source.fetch(path, expected)
    finally:
        source.close()


def resolve(uri):
    source = open_sif_source(uri, settings())
    try:
        return source.resolve()
    finally:
        source.close()


def test_a_sif_from_a_registry(registry, tmp_path):
    manifest = artifact(registry)
    uri = f"oras://{registry.host}/org/tool:1"
    assert resolve(uri) == manifest["digest"]
    assert [request.method for request in registry.log] == ["HEAD"]
    assert fetch(uri, tmp_path / "x.sif", DIGEST) == DIGEST
    assert (tmp_path / "x.sif").read_bytes() == SIF
    assert (tmp_path / "x.sif").stat().st_mode & 0o700 == 0o700


def test_a_changed_sif_leaves_no_file(registry, tmp_path):
    artifact(registry)
    registry.on("GET", DIGEST, Answer(200, SIF.replace(b"\x10", b"\x11")))
    (tmp_path / "x.sif").write_bytes(b"old")
    with pytest.raises(IntegrityError, match="expected sha256:"):
        fetch(f"oras://{registry.host}/org/tool:1", tmp_path / "x.sif")
    assert (tmp_path / "x.sif").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a38_an_image_behind_oras_is_named(registry, tmp_path):
    registry.tag("org/tool", "1", registry.blobs.image([bytes([n]) for n in range(14)]))
    words = rf"container image with 14 layers, not a SIF file; use docker://{registry.host}/org/tool:1"
    with pytest.raises(SourceError, match=words):
        fetch(f"oras://{registry.host}/org/tool:1", tmp_path / "x.sif")


def test_another_artifact_behind_oras_is_named(registry, tmp_path):
    artifact(registry, [registry.blobs.put(b"x", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")])
    with pytest.raises(SourceError, match=r"it has 1 layers \(a Helm chart\)"):
        fetch(f"oras://{registry.host}/org/tool:1", tmp_path / "x.sif")


def test_a_sif_behind_docker_is_named(registry):
    artifact(registry)
    source = open_source(f"docker://{registry.host}/org/tool:1", settings())
    with pytest.raises(SourceError, match=r"a SIF file, not a container image; use oras://"):
        source.resolve(parse_platform("amd64"))
    source.close()


def serve(registry, body=SIF, **headers):
    registry.on("GET", "/files/", lambda r: ranged(r, body, headers))
    registry.on("HEAD", "/files/", Answer(200, body, headers))
    return f"http://{registry.host}/files/tool.sif"


def ranged(request, body, headers):
    start = int(request.headers.get("range", "bytes=0-")[6:-1])
    if not start:
        return Answer(200, body, headers)
    return Answer(206, body[start:], {**headers, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"})


def test_a_sif_from_a_web_server(registry, tmp_path):
    url = serve(registry, ETag='"1"')
    assert fetch(url, tmp_path / "x.sif") == DIGEST
    first = resolve(url)
    assert first == resolve(url)
    assert first.startswith("sha256:")


def test_a_pinned_sif_from_a_web_server(registry, tmp_path):
    url = serve(registry)
    pinned = f"{url}#sha256={DIGEST[7:]}"
    assert resolve(pinned) == DIGEST
    assert registry.log == []
    assert fetch(pinned, tmp_path / "x.sif") == DIGEST
    for uri, expected in ((url, f"sha256:{'0' * 64}"), (f"{url}#sha256={'0' * 64}", "")):
        with pytest.raises(IntegrityError, match="expected sha256:000"):
            fetch(uri, tmp_path / "y.sif", expected)
    assert not (tmp_path / "y.sif").exists()


def test_a_broken_download_goes_on(registry, tmp_path):
    registry.on("GET", "/files/", Answer(200, SIF, cut=100_000), times=1)
    url = serve(registry)
    assert fetch(url, tmp_path / "x.sif", DIGEST) == DIGEST
    assert registry.asked("GET", "/files/")[1].headers["range"] == "bytes=100000-"


@pytest.mark.parametrize("kind", ["http", "oras", "file"])
def test_an_error_of_the_target_is_not_one_of_the_transfer(registry, tmp_path, monkeypatch, kind):
    artifact(registry)
    (tmp_path / "source.sif").write_bytes(SIF)
    uris = {"http": serve(registry), "oras": f"oras://{registry.host}/org/tool:1", "file": f"{tmp_path}/source.sif"}

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left on device") as caught:
        fetch(uris[kind], tmp_path / "x.sif")
    assert str(caught.value.filename).startswith(str(tmp_path))
    assert not (tmp_path / "x.sif").exists()


def test_a_web_page_instead_of_a_sif(registry, tmp_path):
    url = serve(registry, b"<html>log in</html>")
    with pytest.raises(SourceError, match="this is a web page, not a SIF file"):
        fetch(url, tmp_path / "x.sif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}, {"ETag": 'W/"1"', "Last-Modified": "now"}])
def test_a_server_that_says_nothing_of_versions(registry, headers):
    """A weak mark stays when bytes change that mean nothing to the server; they do to a signature."""
    assert resolve(serve(registry, **headers)) is None


def test_another_version_has_another_mark(registry):
    marks = [{"ETag": '"1"'}, {"ETag": '"2"'}, {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}]
    found = []
    for headers in marks:
        registry._rules.clear()
        found.append(resolve(serve(registry, **headers)))
    assert len({*found, None}) == 4


@pytest.mark.parametrize("uri", ["https://user@host/x.sif", "https://host/x.sif#md5=1", "https:///x"])
def test_addresses_that_are_none(uri):
    with pytest.raises(BadReferenceError):
        open_sif_source(uri, settings())


def test_a_local_sif(tmp_path):
    (tmp_path / "a.sif").write_bytes(SIF)
    assert resolve(f"{tmp_path}/a.sif") == DIGEST
    assert fetch(f"{tmp_path}/a.sif", tmp_path / "b.sif", DIGEST) == DIGEST
    with pytest.raises(SourceError, match="no such file"):
        open_sif_source(f"{tmp_path}/none.sif", settings())


def test_transports_are_not_mixed_up(tmp_path):
    with pytest.raises(BadReferenceError, match="prebuilt SIF"):
        open_source("oras://host/x:1", settings())
    with pytest.raises(BadReferenceError, match="not a SIF file"):
        open_sif_source("docker://x", settings())


def test_what_is_not_a_sif_is_not_pushed(tmp_path):
    (tmp_path / "x").write_bytes(b"text")
    with pytest.raises(SourceError, match="not a SIF file"):
        push_sif(tmp_path / "x", parse_reference("localhost:1/x"), settings(progress=Silent()))


def test_the_manifest_that_is_pushed_is_apptainers():
    layer = Descriptor(LAYER_TYPE, DIGEST, len(SIF), {"org.opencontainers.image.title": "x.sif"})
    document = json.loads(sif_manifest(layer))
    assert document["config"]["mediaType"] == CONFIG_TYPE
    assert document["config"]["digest"] == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert document["layers"][0]["mediaType"] == LAYER_TYPE
    assert document["layers"][0]["annotations"] == {"org.opencontainers.image.title": "x.sif"}


@pytest.mark.parametrize("rest", ["127.0.0.1:1/x.sif", "[bad/x.sif", "127.0.0.1:1/x.sif#sha256=1"])
def test_a_password_in_an_address_is_not_repeated(rest):
    with pytest.raises(BadReferenceError) as caught:
        open_sif_source(f"https://user:hunter2@{rest}", settings())
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "media_type",
    ["appliciation/vnd.sylabs.sif.layer.tar", "application/vnd.sylabs.sif.layer.tar", LAYER_TYPE],  # codespell:ignore
)
def test_h26_types_of_old_singularity_are_sif_files(registry, tmp_path, media_type):
    artifact(registry, [registry.blobs.put(SIF, media_type)])
    assert fetch(f"oras://{registry.host}/org/tool:1", tmp_path / "x.sif") == DIGEST


def pushed_by_oras(registry, *layers, config="application/vnd.oci.empty.v1+json", manifest_type=None):
    """Push what ``oras push`` makes of files: (bytes, media type, title)."""
    described = [
        registry.blobs.put(data, kind, annotations={TITLE: title} if title else {}) for data, kind, title in layers
    ]
    changes = {"config": registry.blobs.put(b"{}", config)}
    image = registry.blobs.image([], layer_descriptors=described, manifest_changes=changes)
    registry.tag("org/tool", "1", image)
    return f"oras://{registry.host}/org/tool:1"


TITLE = "org.opencontainers.image.title"
TAR = "application/vnd.oci.image.layer.v1.tar"
EMPTY, UNKNOWN = "application/vnd.oci.empty.v1+json", "application/vnd.unknown.config.v1+json"
IMAGE = "application/vnd.oci.image.config.v1+json"
BOM = (b"{}", "application/spdx+json", "tool.spdx.json")


@pytest.mark.parametrize(
    ("layers", "config"),
    [
        ([(SIF, TAR, "tool.sif")], EMPTY),
        ([(SIF, TAR, "tool.sif")], UNKNOWN),
        ([(SIF, TAR, "tool.sif")], IMAGE),
        ([(SIF, TAR, "tool")], EMPTY),
        ([(SIF, TAR, "")], UNKNOWN),
        ([(SIF, "application/octet-stream", "")], EMPTY),
        ([(SIF, "application/x-sif", "dir/TOOL.SIF"), BOM], EMPTY),
        ([BOM, (SIF, TAR, "tool.simg")], EMPTY),
        ([(b"readme", TAR, "README.md"), (SIF, LAYER_TYPE, "")], EMPTY),
    ],
)
def test_h25_sif_files_that_oras_pushed_are_taken(registry, tmp_path, layers, config):
    uri = pushed_by_oras(registry, *layers, config=config)
    assert fetch(uri, tmp_path / "x.sif") == DIGEST
    assert (tmp_path / "x.sif").read_bytes() == SIF


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([(b"text" * 1000, TAR, "tool.sif")], "this is not a SIF file"),
        ([(b"PK" * 1000, "application/octet-stream", "a.zip")], "this is not a SIF file"),
        (
            [(SIF, TAR, "a.sif"), (SIF + b" ", TAR, "b.sif")],
            r"2 SIF files \(a.sif, b.sif\); push each file to a separate tag",
        ),
        ([(SIF, TAR, "a"), (SIF + b" ", TAR, "b")], "a container image with 2 layers, not a SIF file"),
        ([BOM], "it has 1 layers"),
    ],
)
def test_h25_other_artifacts_are_named(registry, tmp_path, layers, said):
    uri = pushed_by_oras(registry, *layers)
    with pytest.raises(SourceError, match=said):
        fetch(uri, tmp_path / "x.sif")
    assert list(tmp_path.iterdir()) == []


PLATFORM = {"os": "linux", "architecture": "amd64"}


@pytest.mark.parametrize("depth", [1, 4, 5])
@pytest.mark.parametrize("more", [{}, {"platform": PLATFORM}], ids=["no platform", "platform"])
def test_a_sif_in_an_index_in_an_index(registry, tmp_path, depth, more):
    entry = {**artifact(registry), "platform": PLATFORM}
    for _ in range(depth):
        entry = {**registry.blobs.index([{key: value for key, value in entry.items() if key != "platform"} | more])}
    registry.tag("org/tool", "1", entry)
    uri = f"oras://{registry.host}/org/tool:1"
    platform = parse_platform("linux/amd64")
    if depth < 5:
        assert fetch(uri, tmp_path / "x.sif", platform=platform) == DIGEST
        return
    with pytest.raises(SourceError, match=r"its indexes are nested more than 4 deep \(a limit\)"):
        fetch(uri, tmp_path / "x.sif", platform=platform)


@pytest.mark.parametrize("kinds", [(LAYER_TYPE, LAYER_TYPE), (f"{LAYER_TYPE}; charset=utf-8",)])
def test_a_sif_that_is_named_twice_or_with_parameters(registry, tmp_path, kinds):
    artifact(registry, [registry.blobs.put(SIF, kind) for kind in kinds])
    assert fetch(f"oras://{registry.host}/org/tool:1", tmp_path / "x.sif") == DIGEST


def index_of_sifs(registry, folder):
    """Push an index of SIF files for amd64 and arm64; return their digests."""
    whole = write_sif(folder / "whole.sif").read_bytes()
    entries, files = [], {}
    for name, code in (("amd64", b"02\0"), ("arm64", b"04\0")):
        data = whole[:45] + code + whole[48:]  # the header's architecture
        config = registry.blobs.put(b"{}", CONFIG_TYPE)
        image = registry.blobs.image(
            [], layer_descriptors=[registry.blobs.put(data, LAYER_TYPE)], manifest_changes={"config": config}
        )
        entries.append({**image, "platform": {"os": "linux", "architecture": name}})
        files[name] = f"sha256:{hashlib.sha256(data).hexdigest()}"
    registry.tag("org/tool", "1", registry.blobs.index(entries))
    return files


@pytest.mark.parametrize("name", ["amd64", "arm64"])
def test_the_wanted_platform_of_an_index_of_sif_files_is_fetched(registry, tmp_path, monkeypatch, name):
    files = index_of_sifs(registry, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    uri = f"oras://{registry.host}/org/tool:1"
    assert main(["pull", "--no-https", "--arch", name, "x.sif", uri]) == 0
    assert f"sha256:{hashlib.sha256((tmp_path / 'x.sif').read_bytes()).hexdigest()}" == files[name]
    assert main(["pull", "--no-https", "--arch", "s390x", "y.sif", uri]) == 1


def test_a_project_has_each_platform_of_an_index_of_sif_files(registry, tmp_path, monkeypatch, capsys):
    files = index_of_sifs(registry, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "config").mkdir()
    uri = f"oras://{registry.host}/org/tool:1"
    (tmp_path / "sifmake.yaml").write_text(f"registries: {{'{registry.host}': {{plain-http: true}}}}\n")
    images = [f"  tool_{name}: {{from: '{uri}', platform: linux/{name}}}\n" for name in files]
    (tmp_path / "config/images.yaml").write_text("images:\n" + "".join(images))
    assert main(["lock"]) == 0, capsys.readouterr().err
    for name, digest in files.items():
        for stage in ("pull", "flatten", "sif", "sign", "verify", "publish"):
            assert main(["stage", stage, f"tool_{name}"]) == 0, capsys.readouterr().err
        data = (tmp_path / "images" / f"tool_{name}.sif").read_bytes()
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
    assert main(["lock", "--check"]) == 0
