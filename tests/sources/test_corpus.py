"""Images by other tools: what skopeo reads is read with the same layers, what it refuses is refused with a reason."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from sifmake.errors import SourceError
from sifmake.oci import digest_bytes, parse_document
from support.corpus import CORPUS, IMAGE_URIS, needs_corpus
from support.pulling import pull

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not on this machine")

BEYOND_SKOPEO = {"hello-world-cosign-manifest", "hello-world-cosign-manifest-list"}
"""Layouts of several entries of which one is an image: skopeo wants to be told which."""
OTHER_REFUSALS = {"overlayfs-docker-v2-manifest": "squashfs", "aufs-docker-v2-manifest": "525 were announced"}
"""Images that skopeo passes on without looking: a layer that is not a tar, a config of another size."""


def name_of(uri):
    return uri.removeprefix(f"{uri.partition(':')[0]}:{CORPUS}/")


def skopeo(uri):
    """Return the layers that skopeo sees and the platform, or None when it refuses the image."""
    words = ["skopeo", "--override-os", "linux", "--override-arch", "amd64", "inspect", uri]
    inspected = subprocess.run(words, capture_output=True, text=True, check=False)
    if inspected.returncode:
        return None
    document = json.loads(inspected.stdout)
    return document["Layers"], f"{document['Os'] or 'linux'}/{document['Architecture'] or 'amd64'}"


@needs_corpus
@needs_skopeo
@pytest.mark.parametrize("uri", IMAGE_URIS, ids=name_of)
def test_what_skopeo_reads(uri):
    short = name_of(uri).rpartition("/")[2]
    seen = skopeo(uri)
    if short in OTHER_REFUSALS:
        with pytest.raises(SourceError, match=OTHER_REFUSALS[short]):
            pull(uri)
    elif seen is None and short not in BEYOND_SKOPEO:
        with pytest.raises(SourceError, match=r"^(oci|docker)[a-z-]*:.+: .+; .+"):
            pull(uri)
    else:
        layers, platform = seen or (None, "linux/arm64" if short == "hello-world-cosign-manifest" else "linux/amd64")
        pulled = pull(uri, platform)
        read = [layer.descriptor.digest for layer in pulled.image.layers]
        assert layers is None or read == layers
        assert [digest_bytes(blob, digest[:6]) for blob, digest in zip(pulled.blobs, read, strict=True)] == read


@needs_corpus
@needs_skopeo
@pytest.mark.parametrize(("name", "number"), [("testrepo", 7), ("external", 0)])
def test_every_ref_of_a_layout_with_many(name, number):
    layout = CORPUS / "oci/regclient+regclient/testdata" / name
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    tags = {entry.get("annotations", {}).get("org.opencontainers.image.ref.name") for entry in entries} - {None}
    seen = {tag: skopeo(f"oci:{layout}:{tag}") for tag in tags}
    ours = {tag: layers_or_refusal(f"oci:{layout}:{tag}", seen[tag]) for tag in tags}
    images = {tag for tag in tags if isinstance(ours[tag], list)}
    assert len(images) == number
    assert {tag: ours[tag] for tag in images} == {tag: seen[tag][0] for tag in images}
    for tag in tags - images:
        assert any(words in ours[tag] for words in ("artifact", "no image for", "not a container image")), ours[tag]


def layers_or_refusal(uri, seen):
    try:
        pulled = pull(uri, *(seen[1:] if seen else ()))
    except SourceError as error:
        return str(error)
    return [layer.descriptor.digest for layer in pulled.image.layers]


@needs_corpus
def test_schema_1_is_refused():
    document = CORPUS / "generated/schema1/busybox-musl.v2s1-signed.json"
    with pytest.raises(SourceError, match="Docker schema 1"):
        parse_document(document.read_bytes())


@needs_corpus
@pytest.mark.parametrize("name", ["sif-artifact.oci", "busybox-with-referrers.oci"])
def test_artifacts(name):
    layout = CORPUS / "generated/oras" / name
    if name.startswith("sif"):
        with pytest.raises(SourceError, match=r"a SIF file, not a container image; use oras://"):
            pull(f"oci:{layout}")
    else:
        assert len(pull(f"oci:{layout}").blobs) == 1
