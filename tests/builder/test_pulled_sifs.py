"""Finished SIF files that are pulled: for which machine they are, and what the store keeps of them. Labels."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import sifmake
from sifmake.builder.run_cache import ImageToRun, find_or_build
from sifmake.cli.main import main
from sifmake.errors import SourceError
from sifmake.oci import digest_bytes
from sifmake.oci.platform import host_platform
from sifmake.sif import DataType, NewObject, plan
from support.layers import file, tar
from support.messages import Messages
from support.registry import Answer, FakeRegistry, Uploads
from support.sif_versions import sif_version

if TYPE_CHECKING:
    from collections.abc import Iterator

SIF_LAYER = "application/vnd.sylabs.sif.layer.v1.sif"
HOST = host_platform().architecture
NEW = sif_version(newer=True)
OTHER = "arm64" if HOST == "amd64" else "amd64"


def sif_for(architecture: str) -> bytes:
    data = b"bootstrap: scratch\n"
    made = plan([NewObject(DataType.DEFINITION, len(data), "")], arch=architecture)
    return made.head + data


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Iterator[FakeRegistry]:
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    with FakeRegistry() as registry:
        for architecture in (HOST, OTHER, "unknown"):
            layer = registry.blobs.put(sif_for(architecture), SIF_LAYER)
            registry.tag("a", architecture, registry.blobs.image([], layer_descriptors=[layer]))
            registry.on("GET", f"/{architecture}.sif", Answer(body=sif_for(architecture)))
        yield registry


def uri_of(registry: FakeRegistry, scheme: str, architecture: str) -> str:
    if scheme == "file":
        with open(f"{architecture}.sif", "wb") as file:
            file.write(sif_for(architecture))
        return f"{architecture}.sif"
    return (
        f"oras://{registry.host}/a:{architecture}" if scheme == "oras" else f"http://{registry.host}/{architecture}.sif"
    )


@pytest.mark.parametrize("scheme", ["oras", "http", "file"])
def test_a_file_for_another_machine_than_was_asked_for_is_refused(registry, tmp_path, scheme, capsys):
    target = tmp_path / "x.sif"
    target.write_bytes(b"old")
    for wanted, has in ((OTHER, HOST), (HOST, OTHER)):
        status = main(["pull", "-F", "--no-https", "--arch", wanted, "x.sif", uri_of(registry, scheme, has)])
        assert (status, target.read_bytes()) == (1, b"old")
        assert f"the SIF file is for {has}, not for {wanted}" in capsys.readouterr().err
    for wanted, has in (("", OTHER), (OTHER, OTHER), (OTHER, "unknown")):
        arch = ["--arch", wanted] if wanted else []
        assert main(["pull", "-F", "--no-https", *arch, "x.sif", uri_of(registry, scheme, has)]) == 0
        assert target.read_bytes() == sif_for(has)


@pytest.mark.parametrize("scheme", ["oras", "http"])
def test_what_was_pulled_runs_without_a_network(registry, tmp_path, scheme):
    uri = uri_of(registry, scheme, HOST)
    sif = sifmake.pull(uri, tmp_path / "x.sif", plain_http=True)
    names = [uri]
    if scheme == "oras":
        names.append(f"oras://{registry.host}/a@{registry.serve_digest('a', HOST)}")
    asked = registry.count("GET", "")
    for name in names:
        found = find_or_build(ImageToRun(name, offline=True), Messages())
        found.close()
        assert found.path.read_bytes() == sif.path.read_bytes()
    assert registry.count("GET", "") == asked
    # What the user does with the file is nothing to the store.
    sif.path.write_bytes(b"damaged")
    find_or_build(ImageToRun(uri, offline=True), Messages()).close()


def test_a_file_for_another_machine_is_not_kept(registry, tmp_path):
    uri = uri_of(registry, "oras", OTHER)
    sifmake.pull(uri, tmp_path / "x.sif", platform=OTHER, plain_http=True)
    with pytest.raises(SourceError, match="is not in the store, and the run is offline"):
        find_or_build(ImageToRun(uri, offline=True), Messages())


def test_a_store_that_takes_no_copy_is_not_an_obstacle(registry, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "file"))
    sif = sifmake.pull(uri_of(registry, "oras", HOST), tmp_path / "x.sif", plain_http=True)
    assert sif.path.read_bytes() == sif_for(HOST)


@pytest.mark.parametrize(("name", "shown"), [("b@{0}", "b@{0}"), ("b:1@{0}", "b:1"), ("b:1", "b:1"), ("b", "b:latest")])
def test_the_label_of_an_image_by_digest_names_no_tag(registry, tmp_path, name, shown):
    image = registry.blobs.image([tar(file("data"))])
    for tag in ("1", "latest"):
        registry.tag("b", tag, image)
    digest = image["digest"]
    uri = f"docker://{registry.host}/{name.format(digest)}"
    labels = sifmake.inspect(sifmake.pull(uri, tmp_path / "b.sif", plain_http=True)).labels
    whole = f"{registry.host}/{shown.format(digest)}"
    assert labels["org.label-schema.usage.singularity.deffile.from"] == whole
    assert labels["org.opencontainers.image.base.name"] == whole


@pytest.fixture
def versions(registry, tmp_path):
    """A registry with the older version of a SIF file at a tag; calling it pushes the newer one and forgets."""
    Uploads(registry)
    uri = f"oras://{registry.host}/org/tool:1"
    (tmp_path / "sifs").mkdir()
    for name, newer in (("old", False), ("new", True)):
        (tmp_path / f"sifs/{name}.sif").write_bytes(sif_version(newer=newer))
    sifmake.push(tmp_path / "sifs/old.sif", uri, plain_http=True)

    def update() -> str:
        sifmake.push(tmp_path / "sifs/new.sif", uri, plain_http=True)
        registry.log.clear()
        return uri

    return uri, update


def moved(registry) -> int:
    """Return how many bytes of the newer file were requested; all if there was a request without Range."""
    asked = [r.headers.get("range", f"bytes=0-{len(NEW) - 1}") for r in registry.asked("GET", digest_bytes(NEW))]
    return sum(int(text.partition("-")[2]) - int(text[6:].partition("-")[0]) + 1 for text in asked)


@pytest.mark.parametrize("where", ["target", "store"])
def test_a_pull_over_an_older_version_moves_what_changed(registry, versions, tmp_path, where):
    uri, update = versions
    target = tmp_path / "x.sif"
    assert main(["pull", "--no-https", "x.sif", uri]) == 0
    update()
    if where == "target":
        (tmp_path / "store").rename(tmp_path / "another store")
        with target.open("rb") as old:
            assert main(["pull", "-F", "--no-https", "x.sif", uri]) == 0
            assert old.read() == sif_version(), "the older file is replaced and never changed"
    else:
        target.unlink()
        assert main(["pull", "--no-https", "x.sif", uri]) == 0
    assert target.read_bytes() == NEW
    assert moved(registry) < len(NEW) / 4
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_running_a_newer_version_moves_what_changed(registry, versions):
    uri, update = versions
    find_or_build(ImageToRun(uri, plain_http=True), Messages()).close()
    update()
    found = find_or_build(ImageToRun(uri, plain_http=True), Messages())
    found.close()
    assert found.path.read_bytes() == NEW
    assert moved(registry) < len(NEW) / 4


def test_a_projects_prebuilt_image_moves_what_changed(registry, versions, tmp_path, capsys):
    uri, update = versions
    (tmp_path / "config").mkdir()
    (tmp_path / "sifmake.yaml").write_text(f"registries: {{'{registry.host}': {{plain-http: true}}}}\n")
    (tmp_path / "config/images.yaml").write_text(f"images: {{tool: {{from: '{uri}'}}}}\n")
    assert main(["lock"]) == 0, capsys.readouterr().err
    update()
    assert main(["lock"]) == 0, capsys.readouterr().err
    assert moved(registry) < len(NEW) / 4
    assert main(["stage", "pull", "tool"]) == 0, capsys.readouterr().err
    assert moved(registry) < len(NEW) / 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_update_that_is_killed_leaves_the_older_version(registry, versions, tmp_path, number):
    """And nothing beside it; after SIGKILL, which no program sees, the next update takes away what was left."""
    uri, update = versions
    (tmp_path / "x.sif").write_bytes(sif_version())
    update()
    command = [sys.executable, "-m", "sifmake", "-q", "pull", "-F", "--no-https", "x.sif", uri]
    running: list[subprocess.Popen[bytes]] = []
    registry.on("GET", digest_bytes(NEW), lambda _: running[0].send_signal(number), times=1)
    running.append(subprocess.Popen(command, cwd=tmp_path))
    assert running[0].wait() != 0
    assert (tmp_path / "x.sif").read_bytes() == sif_version()
    if number == signal.SIGKILL:
        assert main(command[3:]) == 0
        assert (tmp_path / "x.sif").read_bytes() == NEW
    assert {path.name for path in tmp_path.iterdir()} - {"store"} == {"sifs", "x.sif"}
