"""What proves a lock of each transport; the locks here have checksums that fit."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import shutil
import threading

import pytest
import yaml

from sifmake.cli.main import main
from sifmake.project.lock_file import write_lock
from sifmake.project.locks import Build, Lock, LockedLayer
from sifmake.reference import parse_uri
from support.engine import Engine
from support.images import Blobs, write_docker_archive, write_layout, write_oci_archive
from support.layers import file, tar
from support.registry import FakeRegistry
from support.signing import write_sif

REFUSED = "run `sifmake lock app` and review the changes"
SIF_TYPE, SIF_CONFIG = "application/vnd.sylabs.sif.layer.v1.sif", "application/vnd.sylabs.sif.config.v1+json"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))


def as_written(path):
    """Return what a lock file says, for any kind of image, even if it contradicts itself."""
    document = yaml.safe_load(path.read_text())
    name, _, digest = document["image"].rpartition("@")
    layers = tuple(LockedLayer(*layer.values()) for layer in document["layers"])
    texts = (document["platform"], document["manifest"], document["config"])
    return Lock(parse_uri(document["from"]), name, digest, *texts, layers, build=Build(**document["build"]))


class Project:
    """A project of one image, and another one whose content the store has."""

    def __init__(self, folder):
        self.folder = folder

    def configure(self, **images):
        (self.folder / "config").mkdir(exist_ok=True)
        settings = {name: {"from": uri} for name, uri in images.items()}
        (self.folder / "config/images.yaml").write_text(json.dumps({"images": settings}))
        assert main(["lock"]) == 0
        for name in images:
            assert main(["stage", "pull", name]) == 0

    def path(self, name):
        return self.folder / f"config/locks/{name}.yaml"

    def lock(self, name="app"):
        return as_written(self.path(name))

    def change(self, **changes):
        write_lock(self.path("app"), Lock(**{**vars(self.lock()), **changes}))

    def take_from(self, other, *, digest=False):
        """Let the lock build what another lock does, and keep the line that is reviewed."""
        lock = self.lock(other)
        self.change(manifest=lock.manifest, config=lock.config, layers=lock.layers)
        if digest:
            self.change(digest=lock.digest)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    with Engine(tmp_path / "engine") as running:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine")
        yield running


def check_refused(capsys, words="does not follow from"):
    for command in (["stage", "pull", "app"], ["lock", "--check"]):
        capsys.readouterr()
        assert main(command) == 1
        said = capsys.readouterr().err
        assert words in said
        assert REFUSED in said


def image(blobs, content, platform="linux/amd64"):
    return blobs.image([tar(file("x", content * 100))], platform=platform)


@pytest.mark.parametrize("kind", ["oci", "oci-archive"])
@pytest.mark.parametrize("store", ["kept", "lost"])
def test_indexes_of_layouts(project, tmp_path, capsys, kind, store):
    blobs = Blobs()
    index = blobs.index([image(blobs, b"arm", "linux/arm64"), image(blobs, b"amd")])
    (write_layout if kind == "oci" else write_oci_archive)(
        tmp_path / "image", blobs, {"1": index, "2": image(blobs, b"o")}
    )
    project.configure(app=f"{kind}:image:1", other=f"{kind}:image:2")
    assert project.lock().digest == index["digest"] != project.lock().manifest
    if store == "lost":
        shutil.rmtree(tmp_path / "store")
    assert main(["lock", "--check"]) == 0
    assert main(["stage", "--force", "pull", "app"]) == 0
    project.take_from("other")
    check_refused(capsys)
    assert main(["lock"]) == 0
    assert main(["stage", "pull", "app"]) == 0


def test_diff_ids_of_a_lock_follow_from_its_config(project, tmp_path, capsys):
    """A lock of before 0.3 has none, and stays as it is until the image changes."""
    blobs = Blobs()
    write_layout(tmp_path / "image", blobs, {"1": image(blobs, b"a"), "2": image(blobs, b"b")})
    project.configure(app="oci:image:1", other="oci:image:2")
    (layer,), (other,) = project.lock().layers, project.lock("other").layers
    assert layer.diff_id == f"sha256:{hashlib.sha256(tar(file('x', b'a' * 100))).hexdigest()}"
    project.change(layers=(layer._replace(diff_id=other.diff_id),))
    capsys.readouterr()
    assert main(["stage", "--force", "pull", "app"]) == 1
    assert "has other DiffIDs than its config" in capsys.readouterr().err
    project.change(layers=(layer._replace(diff_id=""),))
    old = project.path("app").read_bytes()
    assert b"diff-id" not in old
    assert main(["lock"]) == 0
    assert main(["stage", "pull", "app"]) == 0
    assert project.path("app").read_bytes() == old


def test_docker_archives_have_one_digest(project, tmp_path, capsys):
    blobs = Blobs()
    write_docker_archive(tmp_path / "a.tar", blobs, {"a:1": image(blobs, b"a"), "b:1": image(blobs, b"b")})
    project.configure(app="docker-archive:a.tar:a:1", other="docker-archive:a.tar:b:1")
    project.take_from("other")
    check_refused(capsys)


@pytest.mark.parametrize("ids", ["of configs", "of manifests"])
@pytest.mark.parametrize("store", ["kept", "lost"])
def test_images_of_engines(project, engine, tmp_path, capsys, ids, store):
    blobs = Blobs()
    for name in ("app", "other"):
        descriptor = image(blobs, name.encode())
        config = blobs.document(descriptor)["config"]["digest"]
        archive = write_docker_archive(tmp_path / f"{name}.tar", blobs, {f"{name}:1": descriptor})
        engine.images[f"{name}:1"] = (config if ids == "of configs" else descriptor["digest"], archive.read_bytes())
    project.configure(app="docker-daemon:app:1", other="docker-daemon:other:1")
    if store == "lost":
        shutil.rmtree(tmp_path / "store")
    assert main(["lock", "--check"]) == 0
    assert main(["stage", "--force", "pull", "app"]) == 0
    assert main(["stage", "--force", "pull", "other"]) == 0
    project.take_from("other")
    check_refused(capsys)


@pytest.fixture
def registry():
    with FakeRegistry() as running:
        yield running


def push(registry, tmp_path, tag, number):
    data = write_sif(tmp_path / f"{number}.sif", groups={1: number}).read_bytes()
    layer, config = registry.blobs.put(data, SIF_TYPE), registry.blobs.put(b"{}", SIF_CONFIG)
    registry.tag(tag, "1", registry.blobs.image([], layer_descriptors=[layer], manifest_changes={"config": config}))


@pytest.mark.parametrize("store", ["kept", "lost"])
def test_sif_files_in_registries(project, registry, tmp_path, capsys, store):
    push(registry, tmp_path, "app", 1)
    push(registry, tmp_path, "other", 2)
    project.configure(app=f"oras://{registry.host}/app:1", other=f"oras://{registry.host}/other:1")
    good = project.lock()
    if store == "lost":
        shutil.rmtree(tmp_path / "store")
        registry.log.clear()
        assert main(["lock", "--check"]) == 0
        assert (registry.count("HEAD"), registry.count("GET", "/manifests/")) == (2, 2)
        assert main(["stage", "--force", "pull", "other"]) == 0
    registry.log.clear()
    assert main(["lock", "--check"]) == 0
    assert (registry.count("HEAD"), registry.count("GET")) == (2, 0)
    file_ = project.lock("other").manifest
    for changes in (
        {"manifest": file_, "layers": project.lock("other").layers},
        {"manifest": file_, "layers": project.lock("other").layers, "config": project.lock("other").config},
    ):
        project.change(**changes)
        check_refused(capsys)
    project.change(manifest=good.manifest, layers=(LockedLayer(file_, 1),), config=good.config)
    check_refused(capsys, "lists layers that are not")
    project.change(layers=good.layers, name=project.lock("other").name)
    check_refused(capsys, "its 'from' is")
    assert main(["lock"]) == 0
    assert project.lock() == good


def test_sif_files_on_web_servers(project, tmp_path, capsys):
    folder = tmp_path / "www"
    folder.mkdir()
    for number in (1, 2):
        write_sif(folder / f"{number}.sif", groups={1: number})
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        where = f"http://127.0.0.1:{server.server_address[1]}"
        project.configure(app=f"{where}/1.sif", other=f"{where}/2.sif")
        good, other = project.lock(), project.lock("other")
        project.take_from("other")
        check_refused(capsys)
        project.path("app").unlink()
        project.configure(app=f"{where}/1.sif#sha256={good.manifest[7:]}")
        project.change(digest=other.digest, manifest=other.manifest, layers=other.layers)
        check_refused(capsys, f"is pinned to {good.manifest}")
        server.shutdown()


def test_local_sif_files(project, tmp_path, capsys):
    for name in ("app", "other"):
        write_sif(tmp_path / f"{name}.sif", groups={1: len(name)})
    project.configure(app="./app.sif", other="./other.sif")
    project.take_from("other")
    check_refused(capsys)
