"""What docker save writes, of today and of old, whole and damaged."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from sifmake.errors import IntegrityError, SourceError
from support.images import Blobs, compress, plain_tar, write_docker_archive
from support.pulling import pull

ONE, TWO = b"one" * 1000, b"two" * 500


@pytest.fixture
def blobs():
    return Blobs()


@pytest.fixture
def image(blobs):
    return blobs.image([ONE, TWO])


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("inner", ["none", "gzip", "zstd"])
def test_the_manifest_that_is_made_is_the_same_however_the_archive_is_compressed(
    tmp_path, blobs, image, compression, inner
):
    plain = write_docker_archive(tmp_path / "plain.tar", blobs, {"x:1": image})
    other = write_docker_archive(tmp_path / "x.tar", blobs, {"x:1": image}, compression=compression, inner=inner)
    pulled = pull(f"docker-archive:{other}")
    assert pulled.image == pull(f"docker-archive:{plain}").image
    assert pulled.blobs == [ONE, TWO]
    assert pulled.name == "x.tar"


def test_the_manifest_that_is_made(tmp_path, blobs, image):
    archive = write_docker_archive(tmp_path / "x.tar", blobs, {"x:1": image})
    made = pull(f"docker-archive:{archive}").image
    config = blobs.document(image)["config"]
    media_type = "application/vnd.oci.image.layer.v1.tar"
    assert json.loads(made.manifest) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [{"mediaType": media_type, "digest": digest(raw), "size": len(raw)} for raw in (ONE, TWO)],
    }
    assert made.digest == digest(made.manifest)


def test_one_of_several_images_is_chosen(tmp_path, blobs, image):
    other = blobs.image([b"other"])
    archive = write_docker_archive(tmp_path / "x.tar", blobs, {"a:1": image, "reg.io/b:2": other, "a:latest": image})
    base = f"docker-archive:{archive}"
    assert pull(f"{base}:reg.io/b:2").blobs == [b"other"]
    assert pull(f"{base}:a").blobs == [ONE, TWO]
    assert pull(f"{base}:docker.io/library/a:1").blobs == [ONE, TWO]
    assert pull(f"{base}:@1").blobs == [b"other"]
    assert pull(f"{base}@{blobs.document(other)['config']['digest']}").blobs == [b"other"]
    with pytest.raises(
        SourceError, match=r"2 images, so one must be chosen; add :NAME:TAG; the archive has a:1, reg.io/b:2"
    ):
        pull(base)
    with pytest.raises(SourceError, match=r"no image 'c:1'; the archive has a:1"):
        pull(f"{base}:c:1")
    with pytest.raises(SourceError, match="no image '@7'"):
        pull(f"{base}:@7")


def old_members(blobs, image):
    config = blobs[blobs.document(image)["config"]["digest"]]
    return config, {"config.json": config, "b/layer.tar": TWO}


def entry(*layers):
    return json.dumps([{"Config": "config.json", "RepoTags": None, "Layers": list(layers)}]).encode()


def test_layers_that_are_links(tmp_path, blobs, image):
    _, members = old_members(blobs, image)
    members |= {
        "real/layer.tar": ONE,
        "a/layer.tar": "../real/layer.tar",
        "manifest.json": entry("a/layer.tar", "b/layer.tar"),
    }
    (tmp_path / "x.tar").write_bytes(plain_tar(members))
    assert pull(f"docker-archive:{tmp_path}/x.tar").blobs == [ONE, TWO]


def test_a_config_that_is_not_what_its_name_says(tmp_path, blobs, image):
    """Docker names it by its digest since version 25: ``blobs/sha256/...``, as in a layout."""
    _, members = old_members(blobs, image)
    config = members.pop("config.json")
    document = [{"Config": f"blobs/{digest(config).replace(':', '/')}", "Layers": ["a/layer.tar", "b/layer.tar"]}]
    members |= {"a/layer.tar": ONE, "manifest.json": json.dumps(document).encode(), document[0]["Config"]: config}
    (tmp_path / "x.tar").write_bytes(plain_tar(members))
    assert pull(f"docker-archive:{tmp_path}/x.tar").blobs == [ONE, TWO]
    members[document[0]["Config"]] = config + b" "
    (tmp_path / "x.tar").write_bytes(plain_tar(members))
    with pytest.raises(IntegrityError, match="digest mismatch"):
        pull(f"docker-archive:{tmp_path}/x.tar")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("a/layer.tar", "which is not in the archive"),
        ("../../../etc/passwd", "no member"),
        ("layer.tar", "form a loop"),
    ],
)
def test_links_that_lead_nowhere(tmp_path, blobs, image, target, words):
    _, members = old_members(blobs, image)
    members |= {"a/layer.tar": target, "manifest.json": entry("a/layer.tar", "b/layer.tar")}
    (tmp_path / "x.tar").write_bytes(plain_tar(members))
    with pytest.raises(SourceError, match=words):
        pull(f"docker-archive:{tmp_path}/x.tar")


def test_a_compressed_layer_that_is_not_its_diff_id(tmp_path, blobs, image):
    _, members = old_members(blobs, image)
    members |= {"a/layer.tar": compress(b"evil", "gzip"), "manifest.json": entry("a/layer.tar", "b/layer.tar")}
    (tmp_path / "x.tar").write_bytes(plain_tar(members))
    with pytest.raises(IntegrityError, match="does not have its DiffID"):
        pull(f"docker-archive:{tmp_path}/x.tar")


def test_an_archive_of_before_manifest_json(tmp_path):
    top, base = "a" * 64, "b" * 64
    members = {
        f"{base}/json": json.dumps({"id": base, "os": "linux", "architecture": "amd64"}).encode(),
        f"{base}/layer.tar": ONE,
        f"{top}/json": json.dumps(
            {"id": top, "parent": base, "os": "linux", "architecture": "amd64", "config": {"Cmd": ["sh"]}}
        ).encode(),
        f"{top}/layer.tar": TWO,
        "repositories": json.dumps({"old": {"1": top}}).encode(),
    }
    (tmp_path / "x.tar").write_bytes(plain_tar(members))
    pulled = pull(f"docker-archive:{tmp_path}/x.tar:old:1")
    assert pulled.blobs == [ONE, TWO]
    assert pulled.image.config.settings == {"Cmd": ["sh"]}
    assert pulled.image.config.diff_ids == (digest(ONE), digest(TWO))


def test_an_old_archive_with_a_circle_of_parents(tmp_path):
    members = {
        f"{'a' * 64}/json": json.dumps({"parent": "a" * 64}).encode(),
        "repositories": json.dumps({"old": {"1": "a" * 64}}).encode(),
    }
    (tmp_path / "x.tar").write_bytes(plain_tar(members))
    with pytest.raises(IntegrityError, match="chain of layers"):
        pull(f"docker-archive:{tmp_path}/x.tar")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (b"[]", "lists no images"),
        (b"{}", "lists no images"),
        (b"[1]", "does not have the form that docker save writes"),
        (b"{", "not JSON"),
        (entry("b/layer.tar"), "1 layers, but the config has 2 DiffIDs"),
        (entry("b/layer.tar", "../../x"), "no member '../../x'"),
        (json.dumps([{"Config": "no.json", "Layers": []}]).encode(), "no config 'no.json'"),
    ],
)
def test_damaged_manifests(tmp_path, blobs, image, manifest, words):
    _, members = old_members(blobs, image)
    (tmp_path / "x.tar").write_bytes(plain_tar({**members, "manifest.json": manifest}))
    with pytest.raises(SourceError, match=words):
        pull(f"docker-archive:{tmp_path}/x.tar")


def test_a_wrong_platform_is_explained(tmp_path, blobs):
    archive = write_docker_archive(tmp_path / "x.tar", blobs, {"x:1": blobs.image([ONE], platform="linux/arm64")})
    with pytest.raises(SourceError, match="for linux/arm64, not for linux/amd64"):
        pull(f"docker-archive:{archive}")


def test_an_archive_that_is_cut_off(tmp_path, blobs, image):
    archive = write_docker_archive(tmp_path / "x.tar", blobs, {"x:1": image})
    os.truncate(archive, 2000)
    with pytest.raises(IntegrityError, match="truncated"):
        pull(f"docker-archive:{archive}")


def test_an_archive_from_a_pipe(tmp_path, blobs, image):
    archive = write_docker_archive(tmp_path / "x.tar", blobs, {"x:1": image})
    read, write = os.pipe()
    os.write(write, archive.read_bytes())
    os.close(write)
    try:
        assert pull(f"docker-archive:/dev/fd/{read}").blobs == [ONE, TWO]
    finally:
        os.close(read)
