"""Reports about registries (rows h18 to h29): what tokens, challenges and media types look like in the wild."""

from __future__ import annotations

import hashlib
import json

import pytest

from sifmake.errors import RegistryError, SourceError
from sifmake.progress import Silent
from sifmake.reference import parse_reference
from sifmake.registry import Credentials
from sifmake.sources import open_sif_source
from sifmake.sources.oras import push_sif
from support.pulling import pull, settings
from support.registry import Answer, FakeRegistry, TokenAuth, Uploads, error

RAW = b"layer" * 100
SIF = b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0" + bytes(5000)
ALICE = Credentials("alice", "secret")


@pytest.fixture
def registry():
    with FakeRegistry() as registry:
        registry.tag("org/image", "1", registry.blobs.image([RAW], compression="none"))
        yield registry


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"token": ""},
        {"token": None, "expires_in": "soon"},
        {"expires_in": -5, "issued_at": "yesterday"},
        {"expires_in": 1e400},
        {"token": None, "expires_in": None, "refresh_token": "x"},
    ],
)
def test_h18_a_token_that_is_called_access_token(registry, more):
    auth = TokenAuth(registry)
    answer = json.dumps({"access_token": "token-0", **more}).encode()
    registry._rules.insert(0, registry._rules[0].__class__("GET", "/token", Answer(200, answer), 9))
    auth.issued.append("token-0")
    assert pull(f"docker://{registry.host}/org/image:1").blobs == [RAW]


BEARER = 'Bearer realm="/token",service="x",scope="repository:org/image:pull"'


@pytest.mark.parametrize(
    "challenge",
    [
        BEARER,
        BEARER.replace('"/token"', "/token"),
        BEARER.replace("/token", "/token?account=x"),
        f'Basic realm="x", {BEARER}',
        f'{BEARER}, Basic realm="x"',
    ],
)
@pytest.mark.parametrize("credentials", [None, ALICE])
def test_h19_a_realm_without_a_host_and_challenges_side_by_side(registry, challenge, credentials):
    auth = TokenAuth(registry, challenge=challenge)
    assert pull(f"docker://{registry.host}/org/image:1", credentials=credentials).blobs == [RAW]
    assert len(auth.issued) == 1


@pytest.mark.parametrize("first", ["Basic", "Bearer"])
def test_h19_challenges_in_two_headers(registry, first):
    auth = TokenAuth(registry)
    both = ['Basic realm="x"', f'Bearer realm="{auth.realm}",scope="repository:org/image:pull"']
    one, other = both if first == "Basic" else reversed(both)

    def challenged(request):
        if request.headers.get("authorization", "").startswith("Bearer token-"):
            return None
        return error(401, "UNAUTHORIZED", **{"WWW-Authenticate": one, "www-authenticate": other})

    registry._rules.insert(0, registry._rules[0].__class__("GET", "/v2/", challenged, 99))
    assert pull(f"docker://{registry.host}/org/image:1").blobs == [RAW]
    assert len(auth.issued) == 1


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ((SIF, "application/vnd.sylabs.sif.layer.v1.sif"), "this is a SIF file, not a container image; use oras://"),
        ((b"text", "text/markdown"), "this is an artifact of type text/markdown, not a container image"),
    ],
)
def test_h24_an_unknown_config_is_named_by_what_is_beside_it(registry, layer, said):
    config = registry.blobs.put(b"{}", "application/vnd.unknown.config.v1+json")
    layers = [registry.blobs.put(*layer)]
    image = registry.blobs.image([], layer_descriptors=layers, manifest_changes={"config": config})
    registry.tag("org/image", "2", image)
    with pytest.raises(SourceError, match=said):
        pull(f"docker://{registry.host}/org/image:2")


def pushed(registry, path):
    path.write_bytes(SIF)
    return push_sif(path, parse_reference(f"{registry.host}/org/tool:1"), settings(progress=Silent()))


def test_h27_nothing_empty_is_uploaded(registry, tmp_path):
    """Harbor answers 500 to an empty blob."""
    registry.on("PUT", "/blobs/uploads/", lambda request: None if request.body else Answer(500))
    Uploads(registry)
    digest = pushed(registry, tmp_path / "a.sif")
    assert registry.serve_digest("org/tool", "1") == digest


@pytest.mark.parametrize("status", [400, 415, 422])
def test_h27_a_type_that_is_refused_is_one_line(registry, tmp_path, status):
    registry.on("PUT", "/manifests/", error(status, "MANIFEST_INVALID"), times=1)
    Uploads(registry)
    with pytest.raises(RegistryError, match=rf"{status}|manifest invalid") as caught:
        pushed(registry, tmp_path / "a.sif")
    assert "\n" not in str(caught.value)


def test_h29_a_sif_by_tag_by_digest_and_by_both(registry, tmp_path):
    Uploads(registry)
    digest = pushed(registry, tmp_path / "a.sif")
    sif = f"sha256:{hashlib.sha256(SIF).hexdigest()}"
    for end in (":1", f"@{digest}", f":1@{digest}"):
        source = open_sif_source(f"oras://{registry.host}/org/tool{end}", settings(progress=Silent()))
        assert source.fetch(tmp_path / "b.sif") == sif
        source.close()
    source = open_sif_source(f"oras://{registry.host}/org/tool@{sif}", settings(progress=Silent()))
    with pytest.raises(RegistryError, match="no such image"):
        source.fetch(tmp_path / "b.sif")
    source.close()
