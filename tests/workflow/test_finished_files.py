"""Wish h23: finished SIF files as images of a project: locked by SHA-256, published by both engines."""

from __future__ import annotations

import hashlib
import http.server
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from sifmake.sif import DataType, open_sif
from support.signing import pem_pair, signed, write_sif

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.counting_registry import CountingRegistry
    from support.project import Folder

ENGINES = ["doit", "snakemake"]
CONFIG_TYPE = "application/vnd.sylabs.sif.config.v1+json"
LAYER_TYPE = "application/vnd.sylabs.sif.layer.v1.sif"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def tool(project: Folder) -> Path:
    """A project with the image ``tool``, whose source is the file that is returned."""
    project.images["tool"] = {"from": "./files/tool.sif"}
    project.write()
    (project.root / "files").mkdir(parents=True)
    return write_sif(project.root / "files" / "tool.sif")


@pytest.mark.parametrize("engine", ENGINES)
def test_h23_a_local_file_is_locked_signed_and_published(project: Folder, tool: Path, engine: str) -> None:
    before = tool.read_bytes()
    project.run("sifmake", "lock")
    assert f"image: tool.sif@sha256:{sha256(tool)}" in project.lock_text("tool")
    project.build(engine)
    with open_sif(project.target("tool")) as sif:
        assert [item.data_type for item in sif.objects][-1] == DataType.SIGNATURE
    assert project.record("verify", "tool")["result"]["trust"] == "development"
    assert tool.read_bytes() == before

    files = project.files()
    project.build(engine)
    assert project.files() == files, "nothing changed"

    write_sif(tool, groups={1: 2})
    assert "tool.sif" in project.run("sifmake", "lock", "--check", status=3)
    project.run("sifmake", "lock")
    assert sha256(tool) in project.lock_text("tool")
    project.build(engine)
    with open_sif(project.target("tool")) as sif:
        assert len(sif.objects) == 5


@pytest.mark.parametrize("engine", ENGINES)
def test_h23_another_file_than_was_locked_is_refused(project: Folder, tool: Path, engine: str) -> None:
    project.build(engine)
    good = project.target("tool").read_bytes()
    write_sif(tool, groups={1: 2})
    project.run("sifmake", "lock")
    write_sif(tool, groups={1: 3})
    text = project.build(engine, *(["locked=1"] if engine == "doit" else ["--config", "locked=1"]), status=1)
    assert "the file is not the one that was locked; run `sifmake lock tool`" in text
    assert "Traceback" not in text
    assert "bug in sifmake" not in text
    assert project.target("tool").read_bytes() == good


def test_h23_signatures_that_came_with_a_file_have_to_be_trusted(project: Folder, tool: Path) -> None:
    pair = pem_pair(project.root / "files")
    signed(tool, pair)
    text = project.doit("pull_image", status=1)
    assert "is not among the trusted keys; check 'trusted-keys' in sifmake.yaml" in text
    assert not project.target("tool").exists()
    (project.root / "config" / "keys").mkdir()
    (project.root / "config" / "keys" / "theirs.pem").write_bytes(pair.public.read_bytes())
    project.doit("pull_image")
    assert project.target("tool").read_bytes() == tool.read_bytes()
    assert project.record("publish", "tool")["result"]["signer"] == "as it came"


def test_h23_a_file_stays_as_it_is_where_nothing_signs(project: Folder, tool: Path) -> None:
    del project.config["key"]
    project.write()
    project.doit("pull_image")
    assert project.target("tool").read_bytes() == tool.read_bytes()


def test_h23_a_local_file_that_is_gone_is_told_of_at_once(project: Folder, tool: Path) -> None:
    project.run("sifmake", "lock")
    tool.unlink()
    text = project.run("sifmake", "stage", "pull", "tool", status=1)
    assert "files/tool.sif: there is no such file; check the path" in text
    text = project.run("sifmake", "cache", "export", "a.tar", "tool", status=2)
    assert (
        "tool: this image is a prebuilt SIF file, which archives cannot contain; copy the file itself: ./files/tool.sif"
        in text
    )


def test_h23_a_file_from_a_registry(project: Folder, registry: CountingRegistry) -> None:
    del project.config["key"]
    project.images["tool"] = {"from": f"oras://{registry.host}/org/tool:1"}
    project.write()
    (project.home).mkdir(parents=True)
    file = write_sif(project.home / "theirs.sif")
    manifest = push(registry, file)
    project.doit("pull_image")
    assert f"{registry.host}/org/tool:1@{manifest}" in project.lock_text("tool")
    assert project.target("tool").read_bytes() == file.read_bytes()
    registry.forget()
    project.doit("pull_image")
    assert registry.counts() == {"HEAD manifest": 1}

    newer = push(registry, write_sif(project.home / "newer.sif", groups={1: 2}))
    registry.forget()
    project.target("tool").unlink()
    project.doit("locked=1", "pull_image")
    assert registry.counts() == {}, "the store has what was locked"
    assert project.target("tool").read_bytes() == file.read_bytes()
    project.doit("pull_image")
    assert newer in project.lock_text("tool")
    assert project.target("tool").read_bytes() == (project.home / "newer.sif").read_bytes()


def test_h23_a_locked_file_is_fetched_by_its_digest(project: Folder, registry: CountingRegistry) -> None:
    del project.config["key"]
    project.images["tool"] = {"from": f"oras://{registry.host}/org/tool:1"}
    project.write()
    project.home.mkdir(parents=True)
    file = write_sif(project.home / "theirs.sif")
    push(registry, file)
    project.run("sifmake", "lock")
    push(registry, write_sif(project.home / "newer.sif", groups={1: 2}))
    project.environ["SIFMAKE_CACHE"] = str(project.home / "other")
    project.doit("locked=1", "pull_image")
    assert project.target("tool").read_bytes() == file.read_bytes()


def push(registry: CountingRegistry, file: Path) -> str:
    """Push a SIF file as the peers do; return the manifest's digest."""
    config = registry.blobs.put(b"{}", CONFIG_TYPE)
    layer = registry.blobs.put(file.read_bytes(), LAYER_TYPE)
    manifest = registry.blobs.image([], layer_descriptors=[layer], manifest_changes={"config": config})
    registry.tags["org/tool:1"] = manifest
    return manifest["digest"]


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and counts."""

    log: list[str]

    def log_message(self, *_: object) -> None:
        self.log.append(self.command)


@contextmanager
def web_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    handler = type("Handler", (Server,), {"log": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.log
        server.shutdown()
        thread.join()


def test_h23_a_file_from_a_web_server(project: Folder) -> None:
    del project.config["key"]
    (project.home / "web").mkdir(parents=True)
    file = write_sif(project.home / "web" / "tool.sif")
    with web_server(project.home / "web") as (address, log):
        project.images["tool"] = {"from": f"{address}/tool.sif"}
        project.write()
        project.doit("pull_image")
        assert f"tool.sif@sha256:{sha256(file)}" in project.lock_text("tool")
        assert project.target("tool").read_bytes() == file.read_bytes()
        log.clear()
        project.doit("pull_image")
        assert log == ["HEAD"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"labels": {"a": "b"}}, "'labels' has no effect on a prebuilt SIF file: ./files/tool.sif; leave it out"),
        ({"tags": ["1"]}, "'tags' has no effect on a prebuilt SIF file"),
        ({"platform": "linux/arm64"}, "the file is for amd64, not for arm64; write 'platform: linux/amd64' if"),
        ({"from": "./files/none.sif"}, "none.sif: there is no such file"),
    ],
)
def test_h23_what_cannot_be_is_said(project: Folder, tool: Path, settings: dict, words: str) -> None:
    project.images["tool"] |= settings
    project.write()
    text = project.run("sifmake", "lock", status=None)
    assert words in text
    assert not (project.root / "config" / "locks" / "tool.yaml").exists()
