"""``docker-daemon:`` on engines as people have them: Docker and Podman, each skipped where it is not installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from sifmake.builder.image_build import close_packs, fetch_packs, flatten_packs
from sifmake.errors import SourceError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci import parse_platform
from sifmake.progress import Silent
from sifmake.sources import open_source
from sifmake.sources.engine_connection import find_engine
from sifmake.store import Store
from support.images import Blobs, write_docker_archive, write_layout
from support.layers import file, folder, hardlink, symlink, tar
from support.pulling import Memory, settings

LAYERS = [
    tar(
        folder("etc/", uid=3),
        file("etc/gone", b"x"),
        symlink("lib", "usr/lib"),
        file("bin", b"y" * 300_000, mode=0o4755),
        hardlink("bin2", "bin"),
        file("far/" + "deep/" * 30 + "name", b"z", pax_headers={"SCHILY.xattr.user.a": "b"}),
    ),
    tar(file("etc/.wh.gone"), file("etc/motd", b"hello")),
    tar(folder("far/", mode=0o700), file("far/.wh..wh..opq"), file("far/near", b"near")),
]
DOCKERD = ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]
START = 30


def docker(place: Path, sock: str) -> list[str]:
    folders = ["--data-root", place / "data", "--exec-root", place / "exec", "--pidfile", place / "pid"]
    return [*DOCKERD, *map(str, folders), "-H", f"unix://{sock}"]


def podman(place: Path, sock: str) -> list[str]:
    return [
        *("podman", "--root", f"{place}/graph", "--runroot", f"{place}/run", "--storage-driver=vfs"),
        *("--events-backend=file", "system", "service", "--time=0", f"unix://{sock}"),
    ]


def call(sock: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = find_engine({"DOCKER_HOST": f"unix://{sock}"}).connect()
    try:
        connection.request(method, path, body, {"Content-Type": "application/x-tar", "Host": "docker"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.fixture(scope="module", params=[docker, podman], ids=["docker", "podman"])
def engine(request, tmp_path_factory):
    """Run an engine with its own storage; return its socket."""
    program = request.param(Path(), "")[0]
    if shutil.which(program) is None or os.geteuid() != 0:
        pytest.skip(f"{program} is not installed" if os.geteuid() == 0 else "needs root")
    place = Path(tempfile.mkdtemp())  # podman takes no folder of more than 50 characters, a socket's name none of 108
    words = request.param(place, sock := f"{place}/engine.sock")
    log = tmp_path_factory.mktemp("log") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output)
    try:
        wait_for(process, sock, log)
        yield sock
    finally:
        process.terminate()
        process.wait(START)
        shutil.rmtree(place, ignore_errors=True)


def wait_for(process: subprocess.Popen[bytes], sock: str, log: Path) -> None:
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if call(sock, "GET", "/_ping")[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    last = log.read_text(errors="replace").strip().split("\n")[-1]
    process.kill()
    process.wait()
    pytest.skip(f"the engine does not run on this machine: {last[:300]}")


@pytest.fixture(scope="module")
def image(engine, tmp_path_factory):
    """Put an image into the engine; return the same one as a layout, and its ID."""
    place = tmp_path_factory.mktemp("image")
    blobs = Blobs()
    descriptor = blobs.image(LAYERS, config={"Cmd": ["/bin"], "Env": ["A=b"]})
    archive = write_docker_archive(place / "x.tar", blobs, {"localhost/site/app:1": descriptor})
    status, answer = call(engine, "POST", "/images/load", archive.read_bytes())
    assert status == 200, answer
    status, answer = call(engine, "GET", "/images/localhost/site/app:1/json")
    assert status == 200, answer
    identity = json.loads(answer)["Id"]
    return write_layout(place / "layout", blobs, {"1": descriptor}), f"sha256:{identity.removeprefix('sha256:')}"


def built(uri: str, store: Path, **changes) -> tuple[str, list[str], bytes]:
    """Return an image's tree digest, DiffIDs and config, built in a fresh store."""
    source = open_source(uri, settings(**changes))
    try:
        image = source.image(source.resolve(parse_platform("amd64")).manifest_digest)
        packs = fetch_packs(source, image, Store(store), "gzip", DEFAULT_LIMITS, Silent())
    finally:
        source.close()
    try:
        return flatten_packs(packs, image, Silent()).digest, [layer.diff_id for layer in image.layers], image.config.raw
    finally:
        close_packs(packs)


def test_the_tree_is_that_of_the_layout(engine, image, tmp_path):
    layout, identity = image
    wanted = built(f"oci:{layout}:1", tmp_path / "one")
    environ = {"DOCKER_HOST": f"unix://{engine}"}
    assert built("docker-daemon:localhost/site/app:1", tmp_path / "two", environ=environ) == wanted
    assert built(f"docker-daemon:{identity}", tmp_path / "three", environ=environ) == wanted


def test_an_unchanged_image_keeps_its_digests(engine, image):
    memory = Memory()
    source = open_source("docker-daemon:localhost/site/app:1", settings(environ={"DOCKER_HOST": f"unix://{engine}"}))
    first = source.resolve(parse_platform("amd64"), memory)
    assert first == source.resolve(parse_platform("amd64"), memory)
    assert first.digest == image[1]
    source.close()


def test_an_image_that_is_not_there(engine):
    source = open_source("docker-daemon:localhost/none:1", settings(environ={"DOCKER_HOST": f"unix://{engine}"}))
    with pytest.raises(SourceError, match="the engine has no such image"):
        source.resolve(parse_platform("amd64"))
    source.close()


SSH = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift 2
exec sh -c "$*"
"""


def test_the_far_end_of_ssh_is_the_engines_own_program(engine, image, tmp_path, monkeypatch):
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    version = json.loads(call(engine, "GET", "/version")[1])
    variable = "CONTAINER_HOST" if "Podman" in str(version["Components"]) else "DOCKER_HOST"
    environ = {variable: f"ssh://alice@localhost{engine}"}
    wanted = built(f"oci:{image[0]}:1", tmp_path / "one")
    assert built("docker-daemon:localhost/site/app:1", tmp_path / "two", environ=environ) == wanted
