"""Archives that name one document again and again: read once, parsed once, one bound for all."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest

from sifmake.limits import MIB
from support.images import Blobs, write_layout
from support.layers import file, tar
from support.measured import measured

LAYER = tar(file("a", b"x"))
DIFF_ID = f"sha256:{hashlib.sha256(LAYER).hexdigest()}"


def archive(path, members):
    with tarfile.open(path, "w") as out:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))


def config(number=0, size=7 * MIB):
    rootfs = {"type": "layers", "diff_ids": [DIFF_ID]}
    document = {"os": "linux", "architecture": "amd64", "rootfs": rootfs, "n": number, "x": "y" * size}
    return json.dumps(document).encode()


def listed(count, name="c.json"):
    return json.dumps(
        [{"Config": name.format(n), "RepoTags": [f"a:{n}"], "Layers": ["l.tar"]} for n in range(count)]
    ).encode()


def cheap(ran, status):
    assert ran.status == status, ran.err
    assert len(ran.err.splitlines()) == 1 or status == 0
    assert ran.memory < 256 * MIB
    assert ran.seconds < 5
    return ran.err


@pytest.mark.parametrize("choice", [":a:7", "@" + f"sha256:{hashlib.sha256(config()).hexdigest()}"])
def test_a_config_that_many_images_name_is_read_once(tmp_path, choice):
    archive(tmp_path / "a.tar", {"c.json": config(), "l.tar": LAYER, "manifest.json": listed(2000)})
    cheap(measured("pull", "x.sif", f"docker-archive:a.tar{choice}", cwd=tmp_path), 0)


def test_all_configs_of_an_archive_have_one_bound(tmp_path):
    configs = {f"{n}.json": config(n) for n in range(20)}
    archive(tmp_path / "a.tar", {**configs, "l.tar": LAYER, "manifest.json": listed(20, "{}.json")})
    words = cheap(measured("pull", "x.sif", "docker-archive:a.tar:a:1", cwd=tmp_path), 1)
    assert "documents have more than 67108864 bytes together; save fewer images into it" in words


def legacy(parents, size=8):
    padding = "y" * size
    members = {}
    for name, parent in parents.items():
        document = {"parent": parent, "os": "linux", "architecture": "amd64", "x": padding}
        members[f"{name}/json"] = json.dumps(document).encode()
        members[f"{name}/layer.tar"] = LAYER
    return members


def test_a_chain_of_layers_that_bites_its_tail_is_damaged(tmp_path):
    one = "a" * 64
    repositories = json.dumps({"x": {"1": one}}).encode()
    archive(tmp_path / "a.tar", {**legacy({one: one}, 7 * MIB), "repositories": repositories})
    words = cheap(measured("pull", "x.sif", "docker-archive:a.tar", cwd=tmp_path), 1)
    assert "chain of layers in the archive is damaged" in words


def test_many_images_of_one_chain_read_its_layers_once(tmp_path):
    names = [f"{n:064x}" for n in range(400)]
    parents = dict(zip(names, ["", *names], strict=False))
    repositories = json.dumps({"x": {str(n): name for n, name in enumerate(names)}}).encode()
    archive(tmp_path / "a.tar", {**legacy(parents), "repositories": repositories})
    cheap(measured("pull", "x.sif", "docker-archive:a.tar:x:3", cwd=tmp_path), 0)


def test_a_manifest_that_an_index_lists_again_and_again_is_parsed_once(tmp_path):
    blobs = Blobs()
    image = blobs.image([LAYER])
    large = blobs.put(blobs[image["digest"]][:-1] + b',"x":"' + b"y" * (3 * MIB) + b'"}', image["mediaType"])
    write_layout(tmp_path / "layout", blobs, {"latest": image})
    index = {"schemaVersion": 2, "manifests": [large] * 5000}
    (tmp_path / "layout/index.json").write_text(json.dumps(index))
    (tmp_path / "layout/blobs" / large["digest"].replace(":", "/")).write_bytes(blobs[large["digest"]])
    cheap(measured("pull", "x.sif", "oci:layout", "--arch", "amd64", cwd=tmp_path), 0)


def test_more_members_than_are_allowed_are_not_called_damage(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("limits: {archive-members: 2}\n")
    archive(tmp_path / "a.tar", {"c.json": config(size=8), "l.tar": LAYER, "manifest.json": listed(1)})
    words = cheap(measured("pull", "x.sif", "docker-archive:a.tar", cwd=tmp_path), 1)
    assert "raise archive-members" in words
    assert "damaged" not in words
