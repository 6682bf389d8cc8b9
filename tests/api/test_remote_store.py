"""Packs of images to and from a registry, by whatever names the images."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

import sifmake
from sifmake.cli.main import main
from sifmake.errors import SifmakeError, StoreError, UsageError
from sifmake.project.lock_file import read_lock
from sifmake.project.steps_lock import read_steps_lock
from sifmake.store import Store
from support.building import needs_scripts
from support.definition_projects import Definitions
from support.images import Blobs, write_layout
from support.layers import file, folder, tar
from support.registry import FakeRegistry, Uploads, error

LAYERS = [tar(folder("bin/"), file("bin/sh", b"#!sh" * 30_000)), tar(folder("etc/"), file("etc/a", b"x" * 500))]


@pytest.fixture
def registry():
    with FakeRegistry() as running:
        Uploads(running)
        yield running


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one image, built; and a second store."""
    blobs = Blobs()
    write_layout(tmp_path / "layout", blobs, {"1": blobs.image(LAYERS)})
    (tmp_path / "config").mkdir()
    (tmp_path / "config/images.yaml").write_text(json.dumps({"images": {"tool": {"from": "oci:layout:1"}}}))
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    assert main(["-q", "lock"]) == 0
    assert main(["-q", "stage", "pull", "tool"]) == 0
    return tmp_path


def test_images_are_named_in_several_ways(project, registry, monkeypatch):
    uri = f"oci://{registry.host}/packs"
    manifest = read_lock(project / "config/locks/tool.yaml").manifest
    assert len(sifmake.RemoteStore(uri=uri).push(manifest).uploaded) == 2
    for words in ((), "tool", "config/locks/tool.yaml", ["tool", manifest]):
        done = sifmake.RemoteStore(uri=uri).push(words)
        assert (done.uploaded, done.known, done.left_out) == ((), 2, ())
    with pytest.raises(UsageError, match="not an image with a lock"):
        sifmake.RemoteStore(uri=uri).push("toll")
    monkeypatch.setenv("SIFMAKE_CACHE", str(project / "other"))
    with pytest.raises(StoreError, match="does not have this image"):
        sifmake.RemoteStore(uri=uri).pull(manifest)
    done = sifmake.RemoteStore(uri=uri).push()
    assert (done.uploaded, done.known, len(done.left_out)) == ((), 0, 2), "the store has no packs"
    done = sifmake.RemoteStore(uri=uri).pull()
    assert (len(done.fetched), done.known, done.missing) == (2, 0, ())
    assert sifmake.RemoteStore(uri=uri).pull("tool").known == 2
    assert sifmake.RemoteStore(uri=f"oci://{registry.host}/empty").pull().known == 2


def test_it_must_be_clear_which_remote_store_is_meant(project, registry):
    with pytest.raises(UsageError, match=r"no registry for packs is configured.*--remote"):
        sifmake.RemoteStore().push()
    with pytest.raises(UsageError, match="no remote store of packs is configured"):
        sifmake.RemoteStore().pull()
    with pytest.raises(UsageError, match="read only"):
        sifmake.RemoteStore(uri="https://packs.example/x").push()
    remotes = [f"oci://{registry.host}/{name}" for name in ("a", "b")]
    (project / "sifmake.yaml").write_text(json.dumps({"store": {"remote": remotes}}))
    with pytest.raises(UsageError, match="several registries"):
        sifmake.RemoteStore().push()
    assert len(sifmake.RemoteStore(uri=remotes[1]).push().uploaded) == 2
    remotes[0] = {"uri": remotes[0], "push": True}
    (project / "sifmake.yaml").write_text(json.dumps({"store": {"remote": remotes}}))
    assert len(sifmake.RemoteStore().push().uploaded) == 2
    assert {request.path.split("/")[2] for request in registry.asked("PUT", "/manifests/")} == {"a", "b"}


def test_a_registry_that_refuses_is_an_error_of_push_alone(project, registry, capsys):
    uri = f"oci://{registry.host}/packs"
    registry.on("POST", "/blobs/uploads/", error(403, "DENIED"), first=True)
    with pytest.raises(SifmakeError, match="403"):
        sifmake.RemoteStore(uri=uri).push()
    (project / "sifmake.yaml").write_text(
        json.dumps({"store": {"path": "new", "remote": [{"uri": uri, "push": True}]}})
    )
    capsys.readouterr()
    assert main(["pull", "x.sif", "oci:layout:1"]) == 0
    assert capsys.readouterr().err.count("403") == 1


@needs_scripts
def test_definitions_travel_with_their_bases_and_steps(tmp_path, registry):
    remote = {"remote": [{"uri": f"oci://{registry.host}/packs"}], "path": str(tmp_path / "a")}
    project = Definitions(tmp_path / "p", store=remote).with_busybox()
    project.define("tool", "%post\n    cat /proc/sys/kernel/random/uuid > /random", sign=False)
    project.lock()
    project.build("tool")
    layers = json.loads((project.root / "results/tool/steps.json").read_bytes())["result"]["layers"]
    pushed = sifmake.RemoteStore(project.root).push()
    assert len(pushed.uploaded) == 2, "the base and the step"
    (step,) = read_steps_lock(project.root / "config/locks/tool.steps.yaml").steps
    assert registry.has_tag("packs", f"files-{step.files[7:]}")
    settings = {"store": {**remote, "path": str(tmp_path / "b")}, "steps": "refuse"}
    (project.root / "sifmake.yaml").write_text(json.dumps(settings))
    with pytest.raises(StoreError, match=r"layers of the base .* are not known here"):
        sifmake.RemoteStore(project.root).pull("tool")
    (project.root / "results/tool/steps.json").unlink()
    assert "steps" in project.build("tool", locked=True)
    assert json.loads((project.root / "results/tool/steps.json").read_bytes())["result"]["layers"] == layers
    shutil.rmtree(tmp_path / "b/blobs/sha256" / step.files[7:9])
    sifmake.RemoteStore(project.root).pull("tool")
    assert Store.open(tmp_path / "b").blobs.get(step.files)


def test_what_is_there_needs_no_remote_store(project):
    shown = "print(*sorted(m for m in sys.modules if m.startswith(('sifmake.remote', 'requests.api'))))"
    for words, remotes, modules in (
        ("'pull'", [], []),
        ("'pull'", ["oci://registry.invalid/packs"], ["", ".settings"]),
        ("'--force', 'pull'", ["oci://registry.invalid/packs"], ["", ".remote_packs", ".settings"]),
    ):
        (project / "sifmake.yaml").write_text(json.dumps({"store": {"path": "store", "remote": remotes}}))
        code = f"import sys; from sifmake.cli.main import main; main(['-q', 'stage', {words}, 'tool']); {shown}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [f"sifmake.remote{name}" for name in modules]
