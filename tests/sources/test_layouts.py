"""OCI layouts and archives of them: choosing, damage, compression."""

from __future__ import annotations

import json
import os

import pytest

from sifmake.errors import IntegrityError, SourceError
from sifmake.limits import Limits
from sifmake.oci import parse_platform
from sifmake.sources import open_source
from support.images import Blobs, compress, plain_tar, write_layout, write_oci_archive
from support.pulling import pull, settings


@pytest.fixture
def blobs():
    return Blobs()


@pytest.fixture
def image(blobs):
    return blobs.image([b"one" * 1000, b"two"])


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_an_archive_gives_what_its_folder_gives(tmp_path, blobs, image, compression):
    write_layout(tmp_path / "layout", blobs, {"latest": image})
    write_oci_archive(tmp_path / "x.tar", blobs, {"latest": image}, compression=compression)
    one, other = pull(f"oci:{tmp_path}/layout"), pull(f"oci-archive:{tmp_path}/x.tar:latest")
    assert (one.image, one.blobs) == (other.image, other.blobs)
    assert (one.name, other.name) == ("layout", "x.tar:latest")


def test_paths_with_colons_and_relative_paths(tmp_path, blobs, image, monkeypatch):
    write_layout(tmp_path / "a:b c", blobs, {"v1": image})
    monkeypatch.chdir(tmp_path)
    assert pull("oci:a:b c").name == "a:b c"
    assert pull("oci:a:b c:v1").name == "a:b c:v1"
    assert pull(f"oci:./a:b c@{image['digest']}").name == f"a:b c@{image['digest']}"


def test_one_of_several_refs_is_chosen_and_the_error_lists_them(tmp_path, blobs, image):
    other = blobs.image([b"other"])
    layout = write_layout(tmp_path / "x", blobs, {"v1": image, "v2": other})
    assert pull(f"oci:{layout}:v2").image.digest == other["digest"]
    assert pull(f"oci:{layout}:@0").image.digest == image["digest"]
    assert pull(f"oci:{layout}@{other['digest']}").image.digest == other["digest"]
    with pytest.raises(SourceError, match=r"2 images, so one must be chosen; add :TAG or @DIGEST; it has :v1, :v2"):
        pull(f"oci:{layout}")
    with pytest.raises(SourceError, match=r"no image 'v3'; it has :v1, :v2"):
        pull(f"oci:{layout}:v3")


def test_two_refs_of_one_image_need_no_choice(tmp_path, blobs, image):
    layout = write_layout(tmp_path / "x", blobs, {"v1": image, "latest": image})
    assert pull(f"oci:{layout}").image.digest == image["digest"]


def test_containerd_names(tmp_path, blobs, image):
    names = {"io.containerd.image.name": "docker.io/library/alpine:3", "org.opencontainers.image.ref.name": "3"}
    layout = write_layout(tmp_path / "x", blobs, [{**image, "annotations": names}, blobs.image([b"o"])])
    for tag in ("3", "alpine:3", "docker.io/library/alpine:3"):
        assert pull(f"oci:{layout}:{tag}").image.digest == image["digest"]


def test_platforms_listed_flat_in_the_index(tmp_path, blobs, image):
    arm = blobs.image([b"arm"], platform="linux/arm64/v8")
    layout = write_layout(tmp_path / "x", blobs, [image, arm, blobs.attestation(image)])
    assert pull(f"oci:{layout}", "arm64").image.digest == arm["digest"]
    assert pull(f"oci:{layout}", "amd64").image.digest == image["digest"]
    with pytest.raises(SourceError, match="only for linux/amd64, linux/arm64/v8"):
        pull(f"oci:{layout}", "s390x")


def test_a_nested_index(tmp_path, blobs, image):
    index = blobs.index([blobs.image([b"arm"], platform="linux/arm64"), image, blobs.attestation(image)])
    layout = write_layout(tmp_path / "x", blobs, {"v1": index})
    pulled = pull(f"oci:{layout}:v1")
    assert (pulled.index_digest, pulled.image.digest) == (index["digest"], image["digest"])


def test_entries_without_platform_are_told_by_their_configs(tmp_path, blobs, image):
    arm = blobs.image([b"arm"], platform="linux/arm64")
    bare = [{key: value for key, value in entry.items() if key != "platform"} for entry in (arm, image)]
    layout = write_layout(tmp_path / "x", blobs, {"v1": blobs.index(bare)})
    assert pull(f"oci:{layout}").image.digest == image["digest"]
    with pytest.raises(SourceError, match="no image for linux/s390x, only for linux/amd64, linux/arm64"):
        pull(f"oci:{layout}", "s390x")


def test_signatures_beside_the_image_are_passed_over(tmp_path, blobs, image):
    config = blobs.put_json({}, "application/vnd.oci.empty.v1+json")
    signature = blobs.image([], layer_descriptors=[], manifest_changes={"config": config, "artifactType": "x/y"})
    layout = write_layout(tmp_path / "x", blobs, [image, signature])
    assert pull(f"oci:{layout}").image.digest == image["digest"]


def test_blobs_may_be_links(tmp_path, blobs, image):
    layout = write_layout(tmp_path / "x", blobs, [image])
    name = image["digest"].split(":")[1]
    (layout / "blobs/sha256" / name).rename(tmp_path / "shared")
    (layout / "blobs/sha256" / name).symlink_to(tmp_path / "shared")
    assert pull(f"oci:{layout}").image.digest == image["digest"]


def layer_path(layout, blobs, image, number=0):
    digest = blobs.document(image)["layers"][number]["digest"]
    return layout / "blobs" / digest.replace(":", "/")


def test_a_cut_layer_is_refused_when_it_is_opened(tmp_path, blobs, image):
    layout = write_layout(tmp_path / "x", blobs, [image])
    os.truncate(layer_path(layout, blobs, image), 5)
    with pytest.raises(IntegrityError, match=r"has 5 bytes, the manifest says \d+"):
        pull(f"oci:{layout}")


def test_a_missing_layer_is_named(tmp_path, blobs, image):
    layout = write_layout(tmp_path / "x", blobs, [image])
    layer_path(layout, blobs, image).unlink()
    with pytest.raises(SourceError, match="the layout has no blob sha256:"):
        pull(f"oci:{layout}")


def test_a_fifo_instead_of_a_blob_does_not_hang(tmp_path, blobs, image):
    layout = write_layout(tmp_path / "x", blobs, [image])
    path = layer_path(layout, blobs, image)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceError, match="not a regular file"):
        pull(f"oci:{layout}")


def test_a_changed_manifest_is_refused(tmp_path, blobs, image):
    layout = write_layout(tmp_path / "x", blobs, [image])
    path = layout / "blobs" / image["digest"].replace(":", "/")
    path.write_bytes(path.read_bytes().replace(b"schemaVersion", b"schemaversion"))
    with pytest.raises(IntegrityError, match="digest mismatch"):
        pull(f"oci:{layout}")


def test_a_config_digest_is_explained(tmp_path, blobs, image):
    layout = write_layout(tmp_path / "x", blobs, [image])
    with pytest.raises(SourceError, match=r"config \(an image ID\), not of a manifest"):
        pull(f"oci:{layout}@{blobs.document(image)['config']['digest']}")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("oci:{0}/none", "no such folder"),
        ("oci:{0}/file", "use oci-archive:"),
        ("oci:{0}/empty", "no index.json"),
        ("oci:{0}/saved", "use docker-archive:"),
        ("oci:{0}/broken", "index.json: the document is not JSON"),
        ("oci-archive:{0}/none", "cannot be opened"),
        ("oci-archive:{0}/file", "not a tar archive"),
        ("oci-archive:{0}/empty", "cannot be opened|folder, not an archive"),
        ("docker-archive:{0}/oci.tar", "use oci-archive: for an OCI layout"),
        ("docker-archive:{0}/xz", "the compressed stream is damaged"),
        ("docker-archive:{0}/lz4", "compressed with lz4"),
    ],
)
def test_what_is_not_a_layout(tmp_path, uri, words):
    for folder in ("empty", "saved", "broken"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").write_bytes(b"x" * 2000)
    (tmp_path / "xz").write_bytes(b"\xfd7zXZ\x00" + b"x" * 2000)
    (tmp_path / "lz4").write_bytes(b"\x04\x22\x4d\x18" + b"x" * 2000)
    (tmp_path / "oci.tar").write_bytes(plain_tar({"index.json": b"{}"}))
    (tmp_path / "saved/manifest.json").write_text("[]")
    (tmp_path / "broken/index.json").write_text("{")
    with pytest.raises(SourceError, match=words):
        pull(uri.format(tmp_path))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_archive_that_is_a_bomb_is_refused(tmp_path, compression):
    (tmp_path / "x").write_bytes(compress(b"\0" * 5_000_000, compression))
    with pytest.raises(IntegrityError, match="bomb"):
        pull(f"oci-archive:{tmp_path}/x", limits=Limits(inflate_ratio_from=1_000_000, inflate_ratio=10))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_archive_that_is_cut_off_is_refused(tmp_path, blobs, image, compression):
    path = write_oci_archive(tmp_path / "x", blobs, [image], compression=compression)
    os.truncate(path, path.stat().st_size - 40)
    with pytest.raises(IntegrityError, match="compressed stream is damaged"):
        pull(f"oci-archive:{path}")


def test_digests_cannot_lead_out_of_the_layout(tmp_path, blobs, image):
    layout = write_layout(tmp_path / "x", blobs, [image])
    index = json.loads((layout / "index.json").read_text())
    index["manifests"][0]["digest"] = "sha256:../../index.json"
    (layout / "index.json").write_text(json.dumps(index))
    source = open_source(f"oci:{layout}", settings())
    with pytest.raises(IntegrityError, match="is not a sha256 or sha512 digest"):
        source.resolve(parse_platform("amd64"))
