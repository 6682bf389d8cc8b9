"""Manifests, indexes and configs that are not well-formed."""

from __future__ import annotations

import json

import pytest

from sifmake.errors import IntegrityError
from sifmake.oci import check_bytes, is_digest, parse_config, parse_document
from sifmake.oci.media_types import is_foreign, is_layer

HEX = "0123456789abcdef" * 4
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{HEX}", "size": 2}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{HEX}", "size": 1}


def manifest(**changes):
    return json.dumps({"schemaVersion": 2, "config": CONFIG, "layers": [LAYER], **changes}).encode()


def test_a_manifest_without_media_type_is_told_by_its_members():
    parsed = parse_document(manifest())
    assert parsed.config.digest == CONFIG["digest"]
    assert parsed.layers[0].size == 1


@pytest.mark.parametrize(
    "layer",
    [
        {**LAYER, "digest": f"sha256:{HEX[:-1]}"},
        {**LAYER, "digest": "sha256:../../etc/passwd"},
        {**LAYER, "digest": f"sha256:{HEX.upper()}"},
        {**LAYER, "digest": None},
        {**LAYER, "size": -1},
        {**LAYER, "size": "1"},
        {**LAYER, "size": True},
        {**LAYER, "size": 1 << 70},
        {**LAYER, "data": "%%%"},
        "layer",
        None,
    ],
)
def test_descriptors_that_are_none(layer):
    with pytest.raises(IntegrityError):
        parse_document(manifest(layers=[layer]))


@pytest.mark.parametrize(
    "changes", [{"layers": {}}, {"layers": [LAYER] * 10_001}, {"config": None}, {"config": []}, {"manifests": []}]
)
def test_manifests_that_are_none(changes):
    with pytest.raises(IntegrityError):
        parse_document(manifest(**changes))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"rootfs": []},
        {"rootfs": {"diff_ids": "x"}},
        {"rootfs": {"diff_ids": ["sha256:x"]}},
        {"rootfs": {"diff_ids": [1]}},
    ],
)
def test_configs_that_are_none(document):
    with pytest.raises(IntegrityError):
        parse_config(json.dumps(document).encode())


def test_odd_members_of_a_config_do_no_harm():
    config = parse_config(json.dumps({"rootfs": {"diff_ids": []}, "config": 7, "created": [], "os": 1}).encode())
    assert (config.settings, config.created, config.platform.os) == ({}, "", "")


@pytest.mark.parametrize(
    ("media_type", "layer", "foreign"),
    [
        ("application/vnd.oci.image.layer.v1.tar", True, False),
        ("application/vnd.oci.image.layer.v1.tar+zstd", True, False),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", True, True),
        ("application/vnd.docker.image.rootfs.diff.tar", True, False),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", True, False),
        ("application/vnd.docker.image.rootfs.diff.tar.zst", True, False),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", True, False),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", True, True),
        ("application/octet-stream", False, False),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", False, False),
        ("", False, False),
    ],
)
def test_media_types_of_layers(media_type, layer, foreign):
    assert (is_layer(media_type), is_foreign(media_type)) == (layer, foreign)


def test_digests():
    assert is_digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert not is_digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n")
    assert check_bytes(b"", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 0) == b""
    with pytest.raises(IntegrityError, match="1 bytes, but 0 were announced"):
        check_bytes(b"x", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 0)
