"""Rows of the user reports about manifests (a1 to a3, a28 to a40) on the registry that misbehaves."""

from __future__ import annotations

import base64
import json

import pytest

from sifmake.errors import IntegrityError, SourceError
from sifmake.oci import parse_platform
from sifmake.sources import open_source
from support.images import DOCKER_LAYER, OCI_INDEX, OCI_LAYER
from support.pulling import Memory, pull, settings
from support.registry import Answer, FakeRegistry


@pytest.fixture
def registry():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def blobs(registry):
    return registry.blobs


def pull_from(registry, platform="linux/amd64", suffix=":1", **changes):
    return pull(f"docker://{registry.host}/org/image{suffix}", platform, **changes)


def test_a1_a2_an_unchanged_image_costs_one_head_and_no_get(registry, blobs):
    registry.tag("org/image", "1", blobs.index([blobs.image([b"x"])]))
    memory = Memory()
    first = pull_from(registry, known=memory)
    registry.log.clear()
    second = pull_from(registry, known=memory)
    assert registry.count("HEAD") == 1
    assert registry.count("GET", "/manifests/") == 1, "image() fetches the manifest; resolve() does not"
    assert second.index_digest == first.index_digest


def test_a1_no_document_is_fetched_twice(registry, blobs):
    index = blobs.index([blobs.image([b"x"])])
    registry.tag("org/image", "1", index)
    pull_from(registry)
    paths = [request.path for request in registry.asked("GET")]
    assert len(paths) == len(set(paths)) == 4


def test_a1_a_name_that_was_never_asked_for_takes_no_head(registry, blobs):
    """It could spare nothing: with or without it, one manifest is fetched, which is what quotas count."""
    registry.tag("org/image", "1", blobs.image([b"x"]))
    memory = Memory()
    pull_from(registry, known=memory)
    assert [request.method for request in registry.log[:2]] == ["GET", "GET"], "manifest and config"
    assert registry.count("HEAD") == 0


def test_a1_a_known_digest_is_not_asked_for(registry, blobs):
    image = blobs.image([b"x"])
    memory = Memory()
    pull_from(registry, suffix=f"@{image['digest']}", known=memory)
    assert registry.count("HEAD") == 0
    registry.log.clear()
    source = open_source(f"docker://{registry.host}/org/image:9@{image['digest']}", settings())
    assert source.resolve(parse_platform("amd64"), memory).manifest_digest == image["digest"]
    source.close()
    assert registry.log == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: request.served(headers={"Content-Type": request.served().headers["Content-Type"]}),
        lambda request: request.served(headers={"Docker-Content-Digest": "sha256:short"}),
        Answer(405),
    ],
    ids=["no header", "bad header", "no HEAD"],
)
def test_a3_without_a_digest_in_the_head_the_document_is_hashed(registry, blobs, answer):
    image = blobs.image([b"x"])
    registry.tag("org/image", "1", image)
    registry.on("HEAD", "/manifests/", answer)
    assert pull_from(registry, known=Memory(f"{registry.host}/org/image:1")).index_digest == image["digest"]
    assert (registry.count("HEAD"), registry.count("GET", "/manifests/")) == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [{}, {"platform": None}, {"platform": {"os": "linux", "architecture": "amd64"}}, {"annotations": {}}],
    ids=["as buildx has it", "without a platform", "with the image's platform", "without annotations"],
)
def test_a28_attestations_are_passed_over(registry, blobs, changes):
    image = blobs.image([b"x"])
    attestation = {**blobs.attestation(image), **changes}
    registry.tag("org/image", "1", blobs.index([attestation, image, attestation]))
    assert pull_from(registry).image.digest == image["digest"]
    with pytest.raises(SourceError, match=r"no image for linux/arm64, only for linux/amd64; "):
        pull_from(registry, "linux/arm64")


@pytest.mark.parametrize("offered", ["linux/arm64", "linux/arm64/v8"])
@pytest.mark.parametrize("wanted", ["linux/arm64", "linux/arm64/v8", "aarch64"])
def test_a29_a30_arm64_is_v8(registry, blobs, offered, wanted):
    image = blobs.image([b"arm"], platform=offered)
    registry.tag("org/image", "1", blobs.index([blobs.image([b"x"]), image]))
    assert pull_from(registry, wanted).image.digest == image["digest"]


@pytest.mark.parametrize("order", [("v7", "v5"), ("v5", "v7")])
def test_a31_a_higher_variant_is_never_chosen(registry, blobs, order):
    images = {variant: blobs.image([variant.encode()], platform=f"linux/arm/{variant}") for variant in order}
    registry.tag("org/image", "1", blobs.index(list(images.values())))
    assert pull_from(registry, "linux/arm/v6").image.digest == images["v5"]["digest"]
    assert pull_from(registry, "linux/arm/v7").image.digest == images["v7"]["digest"]


def test_a32_all_kinds_of_documents_are_accepted(registry, blobs):
    for number, docker in enumerate([False, True]):
        image = blobs.image([b"x"], docker=docker)
        registry.tag("org/image", f"{number}", image)
        registry.tag("org/image", f"{number}-index", blobs.index([image], docker=docker))
        assert pull_from(registry, suffix=f":{number}").image.digest == image["digest"]
        assert pull_from(registry, suffix=f":{number}-index").image.digest == image["digest"]


def test_a33_schema_1_is_refused_with_what_to_do(registry, blobs):
    media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    registry.tag(
        "org/image", "1", blobs.put_json({"schemaVersion": 1, "fsLayers": [], "mediaType": media_type}, media_type)
    )
    with pytest.raises(SourceError, match=r"Docker schema 1.*push it again"):
        pull_from(registry)


def test_a34_a35_tag_and_digest_together(registry, blobs):
    image = blobs.image([b"x"])
    registry.tag("org/image", "1", blobs.image([b"newer"]))
    pulled = pull_from(registry, suffix=f":1@{image['digest']}")
    assert pulled.image.digest == image["digest"]
    assert pulled.name == f"{registry.host}/org/image:1@{image['digest']}"


def test_a36_a_pinned_config_digest_is_explained(registry, blobs):
    config = blobs.document(blobs.image([b"x"]))["config"]["digest"]
    with pytest.raises(SourceError, match=r"config \(the image ID.*use the manifest's digest"):
        pull_from(registry, suffix=f"@{config}")


def test_a37_foreign_layers_come_from_their_urls(registry, blobs):
    with FakeRegistry() as elsewhere:
        layer = elsewhere.blobs.put(b"foreign", DOCKER_LAYER.replace("diff", "foreign.diff") + ".gzip")
        urls = ["ftp://x/y", f"http://{elsewhere.host}/v2/a/blobs/{layer['digest']}"]
        image = blobs.image([b"foreign"], docker=True, layer_descriptors=[{**layer, "urls": urls}])
        registry.tag("org/image", "1", image)
        assert pull_from(registry).blobs == [b"foreign"]
        assert registry.count("GET", layer["digest"]) == 1


def test_a37_urls_of_an_ordinary_layer_are_not_followed(registry, blobs):
    with FakeRegistry() as elsewhere:
        layer = elsewhere.blobs.put(b"x", OCI_LAYER)
        url = f"http://{elsewhere.host}/v2/a/blobs/{layer['digest']}"
        registry.tag("org/image", "1", blobs.image([b"x"], layer_descriptors=[{**layer, "urls": [url]}]))
        with pytest.raises(SourceError, match="no such blob"):
            pull_from(registry)
        assert elsewhere.log == []


def test_a39_nested_indexes_are_followed(registry, blobs):
    image = blobs.image([b"x"])
    inner = blobs.index([blobs.image([b"arm"], platform="linux/arm64"), image])
    registry.tag("org/image", "1", blobs.index([{**inner, "platform": None}]))
    assert pull_from(registry).image.digest == image["digest"]


def test_a39_indexes_nested_too_deeply_are_refused(registry, blobs):
    document = blobs.index([blobs.image([b"x"])])
    for _ in range(5):
        document = blobs.index([document])
    registry.tag("org/image", "1", document)
    with pytest.raises(IntegrityError, match="nested too deeply"):
        pull_from(registry)


@pytest.mark.parametrize("ending", [".zst", ".zstd", "+zstd", ".gzip"])
def test_a40_zstd_layers_under_docker_types(registry, blobs, ending):
    """Buildkit and containerd write ``.zstd``, skopeo ``.zst``; and the word for gzip stood on zstd layers too."""
    zstd = blobs.image([b"x" * 1000], docker=True, compression="zstd")
    layer = {**blobs.document(zstd)["layers"][0], "mediaType": f"{DOCKER_LAYER}{ending}"}
    registry.tag("org/image", "1", blobs.image([b"x" * 1000], docker=True, layer_descriptors=[layer]))
    pulled = pull_from(registry)
    assert pulled.image.layers[0].descriptor.media_type.endswith(f"diff.tar{ending}")
    assert pulled.blobs[0].startswith(b"\x28\xb5\x2f\xfd")


def test_sha512_digests(registry, blobs):
    image = blobs.image([b"x"], algorithm="sha512")
    registry.tag("org/image", "1", image)
    assert pull_from(registry).image.digest.startswith("sha512:")


def test_embedded_data_needs_no_request(registry, blobs):
    layer = blobs.put(b"tiny", OCI_LAYER)
    embedded = {**layer, "data": base64.b64encode(b"tiny").decode()}
    registry.tag("org/image", "1", blobs.image([b"tiny"], layer_descriptors=[embedded]))
    assert pull_from(registry).blobs == [b"tiny"]
    assert registry.count("GET", layer["digest"]) == 0


def test_embedded_data_is_checked(registry, blobs):
    layer = {**blobs.put(b"tiny", OCI_LAYER), "data": base64.b64encode(b"tinx").decode()}
    registry.tag("org/image", "1", blobs.image([b"tiny"], layer_descriptors=[layer]))
    with pytest.raises(IntegrityError, match="digest mismatch"):
        pull_from(registry)


@pytest.mark.parametrize(
    ("config_type", "layer_type", "words"),
    [
        (
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            "a Helm chart",
        ),
        ("application/vnd.sylabs.sif.config.v1+json", "application/vnd.sylabs.sif.layer.v1.sif", "a SIF file.*oras://"),
        ("application/vnd.oci.image.config.v1+json", "application/vnd.dev.cosign.simplesigning.v1+json", "cosign"),
        ("application/vnd.oci.image.config.v1+json", "application/octet-stream", "application/octet-stream"),
        ("application/vnd.oci.empty.v1+json", "application/vnd.wasm.content.layer.v1+wasm", "a WebAssembly module"),
        ("application/vnd.oci.image.config.v1+json", OCI_LAYER + "+gzip+encrypted", "an encrypted layer"),
        ("application/vnd.cncf.model.config.v1+json", OCI_LAYER, "an AI model, not a container image"),
        ("application/vnd.docker.plugin.v1+json", DOCKER_LAYER + ".gzip", "a Docker plugin, not a container image"),
    ],
)
def test_artifacts_are_named(registry, blobs, config_type, layer_type, words):
    config = blobs.put_json({}, config_type)
    layer = blobs.put(b"x", layer_type)
    registry.tag(
        "org/image",
        "1",
        blobs.image(
            [],
            layer_descriptors=[layer],
            manifest_changes={"config": config} if "image.config" not in config_type else None,
        ),
    )
    with pytest.raises(SourceError, match=words):
        pull_from(registry)


def test_a_mismatch_says_what_there_is(registry, blobs):
    offered = [blobs.image([p.encode()], platform=p) for p in ("linux/arm64", "linux/arm/v7", "windows/amd64")]
    registry.tag("org/image", "1", blobs.index(offered))
    with pytest.raises(
        SourceError, match=r"no image for linux/amd64, only for linux/arm/v7, linux/arm64, windows/amd64"
    ):
        pull_from(registry)


def test_a_single_image_of_another_platform_is_refused(registry, blobs):
    registry.tag("org/image", "1", blobs.image([b"x"], platform="linux/arm64/v8"))
    with pytest.raises(SourceError, match=r"for linux/arm64/v8, not for linux/amd64.*--platform linux/arm64"):
        pull_from(registry)
    assert pull_from(registry, "linux/arm64").blobs


def test_a_config_without_platform_is_taken_as_wanted(registry, blobs):
    registry.tag("org/image", "1", blobs.image([b"x"], config_changes={"os": None, "architecture": None}))
    assert pull_from(registry).image.config.platform.architecture == ""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>captive portal</html>", "not JSON.*proxy"),
        (b"[]", "not a JSON object"),
        (b"{" * 100_000, "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (
            json.dumps({"schemaVersion": 2, "manifests": [], "layers": [], "mediaType": OCI_INDEX}).encode(),
            "both an index",
        ),
        (b"\xff\xfe{}", "not JSON"),
        (b"{}", "neither an image manifest nor an index"),
        (b"x" * 5_000_000, "more than 4194304 bytes"),
    ],
    ids=["web page", "list", "cut", "deep", "ambiguous", "encoding", "empty", "huge"],
)
def test_documents_that_are_none(registry, blobs, body, words):
    registry.on("GET", "/manifests/1", Answer(200, body))
    with pytest.raises(IntegrityError, match=f"^docker://{registry.host}/org/image:1: .*{words}") as caught:
        pull_from(registry)
    assert caught.value.hint
    assert len(str(caught.value)) < 500


def test_layers_without_diff_ids_are_refused(registry, blobs):
    layers = [blobs.layer(b"x"), blobs.layer(b"y")]
    registry.tag("org/image", "1", blobs.image([b"x"], layer_descriptors=layers))
    with pytest.raises(IntegrityError, match="2 layers, the config 1 DiffIDs"):
        pull_from(registry)
