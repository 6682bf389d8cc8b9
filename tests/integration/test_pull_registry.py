"""``sifmake pull`` from Debian's docker-registry: good images, and every way in which one can be bad."""

import gzip
from pathlib import Path

import pytest

from sifmake.cli.main import main
from support.corpus import CORPUS, needs_corpus
from support.docker_registry import MISSING, running
from support.images import OCI_LAYER, Blobs, write_layout
from support.layers import file, folder, symlink, tar
from support.sif_files import partition_of
from support.squashfs_tools import kernel_mount, needs_kernel, read_rows

ALPINE = CORPUS / "generated" / "skopeo" / "alpine-odd.oci"
LAYERS = [
    tar(folder("bin"), file("bin/tool", b"x" * 300_000, mode=0o755)),
    tar(file("data", b"d" * 5000), symlink("l", "data")),
]

pytestmark = [pytest.mark.registry, pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}")]


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with running(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def push(registry, folder_: Path, name: str, layers=LAYERS, **image) -> dict:
    """Push an image and return its manifest."""
    blobs = Blobs()
    descriptor = blobs.image(layers, **image)
    write_layout(folder_ / "layout", blobs, {"t": descriptor})
    registry.push(f"oci:{folder_ / 'layout'}:t", name)
    return blobs.document(descriptor)


def stored_blob(registry, digest: str) -> Path:
    """Return the file in which the registry keeps a blob."""
    name = digest.partition(":")[2]
    (path,) = registry.log.parent.glob(f"storage/**/blobs/sha256/{name[:2]}/{name}/data")
    return path


@needs_kernel
@needs_corpus
def test_a_registry_and_a_layout_give_the_same_tree_and_differ_in_the_source_only(registry, tmp_path):
    registry.push(f"oci:{ALPINE}", "odd:1")
    one, two = tmp_path / "one.sif", tmp_path / "two.sif"
    assert main(["-q", "pull", str(one), f"docker://{registry.host}/odd:1"]) == 0
    assert main(["-q", "pull", str(two), f"oci:{ALPINE}"]) == 0
    trees = []
    for number, sif in enumerate((one, two)):
        with kernel_mount(partition_of(sif), tmp_path / f"mnt{number}") as top:
            trees.append(read_rows(top))
    differing = {path for path in trees[0].keys() | trees[1].keys() if trees[0].get(path) != trees[1].get(path)}
    assert differing == {b".singularity.d/Singularity", b".singularity.d/labels.json"}


def test_the_next_pull_asks_one_head_and_gets_nothing(registry, tmp_path):
    push(registry, tmp_path, "again:1")
    target = str(tmp_path / "x.sif")
    assert main(["-q", "pull", target, f"docker://{registry.host}/again:1"]) == 0
    before = {method: len(registry.requests(method, "/v2/again/")) for method in ("HEAD", "GET")}
    first = Path(target).read_bytes()
    assert main(["-q", "pull", "--force", target, f"docker://{registry.host}/again:1"]) == 0
    after = {method: len(registry.requests(method, "/v2/again/")) for method in ("HEAD", "GET")}
    assert after == {"HEAD": before["HEAD"] + 1, "GET": before["GET"]}
    assert Path(target).read_bytes() == first


def test_one_changed_layer_is_one_get(registry, tmp_path):
    push(registry, tmp_path, "step:1")
    assert main(["-q", "pull", str(tmp_path / "x.sif"), f"docker://{registry.host}/step:1"]) == 0
    (tmp_path / "b").mkdir()
    manifest = push(registry, tmp_path / "b", "step:1", [LAYERS[0], tar(file("data", b"other"))])
    seen = len(registry.requests("GET", "/v2/step/blobs/"))
    assert main(["-q", "pull", "-F", str(tmp_path / "x.sif"), f"docker://{registry.host}/step:1"]) == 0
    fetched = [path.rpartition("/")[2] for path in registry.requests("GET", "/v2/step/blobs/")[seen:]]
    assert sorted(fetched) == sorted([manifest["config"]["digest"], manifest["layers"][1]["digest"]])


def wrong_byte(registry, tmp_path, name):
    manifest = push(registry, tmp_path, name, [LAYERS[0], tar(file("own", name.encode()))])
    path = stored_blob(registry, manifest["layers"][1]["digest"])
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def wrong_diff_id(registry, tmp_path, name):
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"]}
    push(registry, tmp_path, name, config_changes={"rootfs": rootfs})


def truncated(registry, tmp_path, name):
    manifest = push(registry, tmp_path, name, [LAYERS[0], tar(file("own", name.encode()))])
    path = stored_blob(registry, manifest["layers"][1]["digest"])
    path.write_bytes(path.read_bytes()[:-20])


def missing(registry, tmp_path, name):
    manifest = push(registry, tmp_path, name, [LAYERS[0], tar(file("own", name.encode()))])
    stored_blob(registry, manifest["layers"][1]["digest"]).unlink()


def bomb(registry, tmp_path, name):
    raw = tar(file("zeros", bytes(100 << 20)))
    blob = gzip.compress(raw[:-1024]) + gzip.compress(bytes(100 << 20)) * 20
    blobs = Blobs()
    layer = blobs.put(blob, OCI_LAYER + "+gzip")
    write_layout(tmp_path / "layout", blobs, {"t": blobs.image([raw], layer_descriptors=[layer])})
    registry.push(f"oci:{tmp_path / 'layout'}:t", name)


def no_image(registry, tmp_path, name):
    blobs = Blobs()
    chart = blobs.put(b"a chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    config = blobs.put_json({"name": "chart"}, "application/vnd.cncf.helm.config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    described = blobs.put_json({**manifest, "config": config, "layers": [chart]}, manifest["mediaType"])
    write_layout(tmp_path / "layout", blobs, {"t": described})
    registry.push(f"oci:{tmp_path / 'layout'}:t", name)


def no_tar(registry, tmp_path, name):
    page = b"<html>Sign in to continue</html>" * 100
    blobs = Blobs()
    layer = blobs.put(gzip.compress(page), OCI_LAYER + "+gzip")
    write_layout(tmp_path / "layout", blobs, {"t": blobs.image([page], layer_descriptors=[layer])})
    registry.push(f"oci:{tmp_path / 'layout'}:t", name)


BAD = {
    "wrong-digest": (wrong_byte, "digest"),
    "wrong-diff-id": (wrong_diff_id, "uncompressed layer has the wrong digest"),
    "truncated": (truncated, r"offers \d+ bytes, the manifest says \d+"),
    "missing": (missing, "no such blob"),
    "bomb": (bomb, "ratio|times|more than|limit"),
    "no-image": (no_image, "Helm chart"),
    "no-tar": (no_tar, "tar"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_one_line_and_no_file(kind, registry, tmp_path, capsys):
    import re

    make, says = BAD[kind]
    make(registry, tmp_path, f"bad/{kind}:1")
    target = tmp_path / "out" / "x.sif"
    target.parent.mkdir()
    assert main(["-q", "pull", str(target), f"docker://{registry.host}/bad/{kind}:1"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("sifmake: error: ")
    assert "; " in lines[0], "what to do next"
    assert re.search(says, lines[0]), lines[0]
    assert list(target.parent.iterdir()) == []
    assert not list((tmp_path / "cache").rglob(".tmp-*"))


def test_e12_a_failing_forced_pull_keeps_the_old_file(registry, tmp_path, capsys):
    missing(registry, tmp_path, "bad/forced:1")
    target = tmp_path / "x.sif"
    target.write_bytes(b"old")
    inode = target.stat().st_ino
    assert main(["-q", "pull", "-F", str(target), f"docker://{registry.host}/bad/forced:1"]) == 1
    assert (target.read_bytes(), target.stat().st_ino) == (b"old", inode)
    assert main(["-q", "pull", str(target), f"docker://{registry.host}/bad/forced:1"]) == 1
    assert "already exists" in capsys.readouterr().err
