"""Reports about archives and indexes (rows h1 to h15): what other tools write is read, and what is missing is named."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest

from sifmake.errors import SourceError
from support.images import Blobs, plain_tar, write_docker_archive, write_layout, write_oci_archive
from support.pulling import pull
from support.registry import FakeRegistry

ONE, TWO = b"one" * 1000, b"two" * 500


@pytest.fixture
def blobs():
    return Blobs()


def saved(blobs, layers, members, *, tags=None, prefix=""):
    """Return an archive as ``docker save`` wrote it, with members of its own in the place of the layers."""
    config = blobs[blobs.document(blobs.image([ONE, TWO]))["config"]["digest"]]
    manifest = [{"Config": "config.json", "RepoTags": tags, "Layers": layers}]
    members = {"config.json": config, **members, "manifest.json": json.dumps(manifest).encode()}
    return plain_tar({prefix + name: data for name, data in members.items()})


@pytest.mark.parametrize(
    ("layers", "members"),
    [
        (["x/layer.tar", "z/layer.tar"], {"x/layer.tar": ONE, "y/layer.tar": TWO, "z/layer.tar": "../y/layer.tar"}),
        (["x/layer.tar", "z/layer.tar"], {"z/layer.tar": "../y/layer.tar", "x/layer.tar": ONE, "y/layer.tar": TWO}),
        (["x/layer.tar", "z/layer.tar"], {"x/layer.tar": "../one.tar", "one.tar": ONE, "z/layer.tar": TWO}),
        (["x/layer.tar", "z/layer.tar"], {"x/layer.tar": ".one.tar", "x/.one.tar": ONE, "z/layer.tar": TWO}),
    ],
    ids=["h1 link behind its target", "h1 link before its target", "h2 target above", "h3 target beside"],
)
@pytest.mark.parametrize("prefix", ["", "./", "/"], ids=["plain", "h4 dot", "h4 root"])
def test_h1_h2_h4_layers_that_are_links_under_any_spelling(tmp_path, blobs, layers, members, prefix):
    (tmp_path / "x.tar").write_bytes(saved(blobs, layers, members, prefix=prefix))
    assert pull(f"docker-archive:{tmp_path}/x.tar").blobs == [ONE, TWO]


def test_h5_h8_compressed_layers_of_an_archive_without_tags(tmp_path, blobs):
    """As kaniko and crane write: names by digest, layers compressed."""
    names = [f"{hashlib.sha256(gzip.compress(raw, mtime=0)).hexdigest()}.tar.gz" for raw in (ONE, TWO)]
    members = {name: gzip.compress(raw, mtime=0) for name, raw in zip(names, (ONE, TWO), strict=True)}
    (tmp_path / "x.tar").write_bytes(saved(blobs, names, members))
    assert pull(f"docker-archive:{tmp_path}/x.tar").blobs == [ONE, TWO]


@pytest.mark.parametrize("chosen", ["", ":app:1.0", ":docker.io/library/app:1.0"])
def test_h9_an_index_with_platforms_whose_blobs_are_absent(tmp_path, blobs, chosen):
    """As the containerd store of Docker saves: an index of all platforms, and blobs of one."""
    image, other = (
        blobs.image([ONE], compression="none"),
        blobs.image([TWO], platform="linux/arm64", compression="none"),
    )
    index = {**blobs.index([other, image, blobs.attestation(image)])}
    for digest in (other["digest"], blobs.document(other)["layers"][0]["digest"]):
        del blobs.data[digest]
    names = {"io.containerd.image.name": "docker.io/library/app:1.0", "org.opencontainers.image.ref.name": "1.0"}
    archive = write_oci_archive(tmp_path / "x.tar", blobs, [{**index, "annotations": names}])
    assert pull(f"oci-archive:{archive}{chosen}").blobs == [ONE]
    with pytest.raises(SourceError, match=r"has no blob sha256:.*incomplete"):
        pull(f"oci-archive:{archive}", "linux/arm64")


def test_h10_an_archive_for_another_platform_is_refused_by_its_name(tmp_path, blobs):
    archive = write_docker_archive(tmp_path / "x.tar", blobs, {"a:1": blobs.image([ONE], platform="linux/arm64")})
    with pytest.raises(SourceError, match="linux/arm64"):
        pull(f"docker-archive:{archive}")


def test_h11_an_image_under_two_tags(tmp_path, blobs):
    image = blobs.image([ONE], compression="none")
    layout = write_layout(tmp_path / "x", blobs, {"1.0": image, "latest": image})
    assert [pull(f"oci:{layout}{tag}").blobs for tag in ("", ":1.0", ":latest")] == [[ONE]] * 3


VARIANTS = {"none": "linux/amd64"} | {name: f"linux/amd64/{name}" for name in ("v2", "v3", "v4")}


@pytest.mark.parametrize(
    ("listed", "wanted", "got"),
    [
        (["v3", "v2", "none"], "linux/amd64", "none"),
        (["none", "v3"], "linux/amd64", "none"),
        (["v2", "v3"], "linux/amd64/v3", "v3"),
        (["none", "v2"], "linux/amd64/v3", "v2"),
        (["v3", "v2", "none"], "linux/x86_64", "none"),
        (["v2", "v3"], "linux/amd64", ""),
    ],
)
def test_h14_h15_variants_of_amd64(blobs, listed, wanted, got):
    with FakeRegistry() as registry:
        registry.blobs = blobs
        images = [blobs.image([name.encode()], platform=VARIANTS[name], compression="none") for name in listed]
        registry.tag("org/image", "1", blobs.index(images))
        uri = f"docker://{registry.host}/org/image:1"
        if got:
            assert pull(uri, wanted).blobs == [got.encode()]
            return
        with pytest.raises(SourceError, match="linux/amd64/v2"):
            pull(uri, wanted)
