"""Docker's reference grammar (distribution/reference), rows a15, a16, a34 and a35 of the user reports."""

from __future__ import annotations

import pytest

from sifmake.errors import BadReferenceError
from sifmake.reference import parse_reference

HEX = "0123456789abcdef" * 4
SHA256 = f"sha256:{HEX}"
SHA512 = f"sha512:{HEX}{HEX}"

CANONICAL = {
    "alpine": "docker.io/library/alpine:latest",
    "library/alpine": "docker.io/library/alpine:latest",
    "docker.io/alpine": "docker.io/library/alpine:latest",
    "docker.io/library/alpine": "docker.io/library/alpine:latest",
    "index.docker.io/library/alpine": "docker.io/library/alpine:latest",
    "index.docker.io/alpine:3": "docker.io/library/alpine:3",
    "org/img": "docker.io/org/img:latest",
    "docker.io/org/img:v1": "docker.io/org/img:v1",
    "quay.io/pypa/x": "quay.io/pypa/x:latest",
    "quay.io/x": "quay.io/x:latest",
    "localhost/x": "localhost/x:latest",
    "localhost:5000/ns/img:tag": "localhost:5000/ns/img:tag",
    "host:5000/x": "host:5000/x:latest",
    "[::1]:5000/x:1": "[::1]:5000/x:1",
    "127.0.0.1/x": "127.0.0.1/x:latest",
    "Uppercase/x": "Uppercase/x:latest",
    "Quay.IO/x": "quay.io/x:latest",
    "a/b/c/d:e": "docker.io/a/b/c/d:e",
    "nvcr.io/nvidia/pytorch:24.01-py3": "nvcr.io/nvidia/pytorch:24.01-py3",
    "a__b/c-d/e.f": "docker.io/a__b/c-d/e.f:latest",
    "a---b": "docker.io/library/a---b:latest",
    f"alpine@{SHA256}": f"docker.io/library/alpine@{SHA256}",
    f"alpine:3@{SHA256}": f"docker.io/library/alpine:3@{SHA256}",
    f"host:5000/x:3@{SHA512}": f"host:5000/x:3@{SHA512}",
    "x:_a.b-C": "docker.io/library/x:_a.b-C",
    "a.b": "docker.io/library/a.b:latest",
}

FAMILIAR = {
    "docker.io/library/alpine": "alpine:latest",
    "index.docker.io/org/img:v1": "org/img:v1",
    "quay.io/org/img": "quay.io/org/img:latest",
    f"alpine@{SHA256}": f"alpine@{SHA256}",
}

BAD = [
    "",
    ":tag",
    "x:",
    "x@",
    "UPPER",
    "host:5000/UP",
    "-x",
    "x-",
    "a//b",
    "a/",
    "/a",
    "a..b",
    "a___b",
    "x:.tag",
    "x:" + "t" * 129,
    "x@sha256:abc",
    f"x@sha256:{HEX.upper()}",
    f"x@md5:{HEX[:32]}",
    f"x@{SHA256}\n",
    HEX,
    "host.name:port/x",
    "ho_st.name/x",
    "a" * 256,
    "x y",
    "../x",
    "docker://alpine",
    "x?y",
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL.items())
def test_a15_a16_a34_a35_defaults_and_parts(text, canonical):
    assert parse_reference(text).canonical == canonical
    assert parse_reference(canonical).canonical == canonical


@pytest.mark.parametrize(("text", "familiar"), FAMILIAR.items())
def test_familiar_names(text, familiar):
    assert parse_reference(text).familiar == familiar


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_a_reference(text):
    with pytest.raises(BadReferenceError):
        parse_reference(text)


@pytest.mark.parametrize("text", ["alpine", "docker.io/x/y", "index.docker.io/library/alpine"])
def test_a15_docker_hub_is_asked_at_its_api_host(text):
    assert parse_reference(text).api_host == "registry-1.docker.io"


def test_errors_say_what_to_do():
    with pytest.raises(BadReferenceError, match="lower-case; try upper"):
        parse_reference("UPPER")
    with pytest.raises(BadReferenceError, match="image ID, not a name"):
        parse_reference(HEX)


@pytest.mark.parametrize("text", ["http://localhost:5000/ns/img:tag", "https://quay.io/x", "docker://alpine", "://x"])
def test_a17_a_scheme_is_not_a_part_of_a_name(text):
    with pytest.raises(
        BadReferenceError, match=r"must not have a scheme; leave out everything up to ://; .*--no-https"
    ):
        parse_reference(text)
