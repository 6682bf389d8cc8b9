"""Transports, local references and the default file name (anatomy 7.1)."""

from __future__ import annotations

import pytest

from sifmake.errors import BadReferenceError
from sifmake.reference import default_sif_name, parse_uri, split_local

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "transport", "rest"),
    [
        ("docker://alpine", "docker", "alpine"),
        ("docker:alpine", "docker", "alpine"),
        ("DOCKER://alpine", "docker", "alpine"),
        ("docker://localhost:5000/x:1", "docker", "localhost:5000/x:1"),
        ("oci:dir:tag", "oci", "dir:tag"),
        ("oci:///abs/dir", "oci", "/abs/dir"),
        ("oci-archive:x.tar", "oci-archive", "x.tar"),
        ("docker-archive:/a b/x.tar", "docker-archive", "/a b/x.tar"),
        ("docker-daemon:x:1", "docker-daemon", "x:1"),
        ("oras://ghcr.io/a/b:1", "oras", "ghcr.io/a/b:1"),
        ("https://example.org/x.sif", "https", "example.org/x.sif"),
        ("./x", "file", "./x"),
        ("/x/y", "file", "/x/y"),
        ("x.sif", "file", "x.sif"),
        ("file:x", "file", "x"),
    ],
)
def test_transports(text, transport, rest):
    uri = parse_uri(text)
    assert (uri.transport, uri.rest) == (transport, rest)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alpine", "no transport; write docker://alpine"),
        ("alpine:3.19", "write docker://alpine:3.19"),
        ("quay.io/a/b:1", "write docker://quay.io/a/b:1"),
        ("library://x/y", "the SIF library cannot be a source"),
        ("shub://x/y", "Singularity Hub"),
        ("ftp://x/y", "'ftp' is not known"),
        ("docker://", "nothing follows"),
        ("docker://UPPER", "lower-case"),
        ("http://[bad/x.sif", "not the address of a file; write https://HOST/PATH"),
        ("https://a:99999/x.sif", "not the address of a file"),
        ("https:///x.sif", "not the address of a file"),
        ("", "no transport"),
    ],
)
def test_what_is_not_a_uri(text, words):
    with pytest.raises(BadReferenceError, match=words):
        parse_uri(text)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("docker://alpine", "alpine_latest.sif"),
        ("docker://quay.io/org/img:v1", "img_v1.sif"),
        ("docker://localhost:5000/a/b", "b_latest.sif"),
        (f"docker://x@sha256:{HEX}", "x_sha256-0123456789ab.sif"),
        (f"docker://x:1@sha256:{HEX}", "x_1.sif"),
        ("oci:oci/ep-only", "ep-only_latest.sif"),
        ("oci:store:ep-only", "store_ep-only.sif"),
        ("oci-archive:/x/y.tar", "y.tar_latest.sif"),
        ("docker-archive:/x/y.tar:org/name:2", "y.tar_2.sif"),
        ("docker-archive:/x/y.tar:@3", "y.tar_3.sif"),
        ("docker-daemon:org/x:2", "x_2.sif"),
        ("oras://ghcr.io/a/b:1", "b_1.sif"),
        ("https://example.org/a/b.sif?x=y#sha256=00", "b.sif"),
        ("https://example.org/a/b", "b.sif"),
        ("https://example.org/a/%2e%2e%2fetc", "etc.sif"),
    ],
)
def test_default_file_names(uri, name):
    assert default_sif_name(uri) == name


@pytest.mark.parametrize(
    ("rest", "path", "tag", "digest", "number", "name"),
    [
        ("x", "x", "", "", None, "x"),
        ("x:tag", "x", "tag", "", None, "x:tag"),
        ("x:name:tag", "x", "name:tag", "", None, "x:name:tag"),
        (f"x@sha256:{HEX}", "x", "", f"sha256:{HEX}", None, f"x@sha256:{HEX}"),
        ("x:@2", "x", "", "", 2, "x:@2"),
        ("x@2", "x", "", "", 2, "x:@2"),
        ("a:b", "a:b", "", "", None, "a:b"),
        ("a:b:tag", "a:b", "tag", "", None, "a:b:tag"),
        (f"a:b@sha256:{HEX}", "a:b", "", f"sha256:{HEX}", None, f"a:b@sha256:{HEX}"),
        ("w@3", "w@3", "", "", None, "w@3"),
        ("deep/x:tag", "deep/x", "tag", "", None, "x:tag"),
    ],
)
def test_local_references(tmp_path, monkeypatch, rest, path, tag, digest, number, name):
    for there in ("a:b", "w@3", "deep/x"):
        (tmp_path / there).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = split_local(rest)
    assert (str(found.path), found.tag, found.digest, found.number) == (path, tag, digest, number)
    assert found.name == name
