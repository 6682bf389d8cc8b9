"""``docker-daemon:`` on an engine's API that runs in this process, on a Unix socket."""

from __future__ import annotations

import pytest

from sifmake.errors import IntegrityError, SourceError
from sifmake.oci import parse_platform
from sifmake.sources import open_source
from support.engine import Engine
from support.images import Blobs, write_docker_archive
from support.pulling import Memory, pull, settings


@pytest.fixture
def engine(tmp_path):
    with Engine(tmp_path / "docker.sock") as engine:
        yield engine
        engine.shutdown()


@pytest.fixture
def environ(tmp_path, engine):
    return {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}


@pytest.fixture
def image(tmp_path, engine):
    blobs = Blobs()
    image = blobs.image([b"one", b"two"])
    identity = blobs.document(image)["config"]["digest"]
    archive = write_docker_archive(tmp_path / "x.tar", blobs, {"org/x:1": image}).read_bytes()
    engine.images["org/x:1"] = engine.images[identity] = (identity, archive)
    return identity


def test_an_image_of_the_engine(engine, environ, image, tmp_path):
    pulled = pull("docker-daemon:org/x:1", environ=environ)
    assert pulled.blobs == [b"one", b"two"]
    assert (pulled.name, pulled.index_digest) == ("org/x:1", image)
    assert pulled.image == pull(f"docker-archive:{tmp_path}/x.tar").image


def test_an_unchanged_image_is_not_exported_again(engine, environ, image):
    memory = Memory()
    pull("docker-daemon:org/x:1", environ=environ, known=memory)
    engine.log.clear()
    source = open_source("docker-daemon:docker.io/org/x:1", settings(environ=environ))
    assert source.resolve(parse_platform("amd64"), memory).digest == image
    assert engine.log == ["/images/org/x:1/json"]


def test_an_image_by_its_id(environ, image):
    assert pull(f"docker-daemon:{image}", environ=environ).blobs == [b"one", b"two"]


def test_an_image_that_is_not_there(environ, image):
    with pytest.raises(SourceError, match=r"docker-daemon:nope:latest: the engine has no such image; run `docker pull"):
        pull("docker-daemon:nope", environ=environ)


def test_an_id_that_was_cut_short(environ, image):
    with pytest.raises(SourceError, match=r"the engine has no such image; write an ID as sha256: and 64 digits"):
        pull(f"docker-daemon:{image[7:19]}", environ=environ)


def test_an_export_that_breaks_off(engine, environ, image):
    engine.cut = 1500
    with pytest.raises(IntegrityError, match="truncated"):
        pull("docker-daemon:org/x:1", environ=environ)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("unix:///nowhere/docker.sock", "cannot be reached.*DOCKER_HOST"),
        ("tcp://127.0.0.1:9", "cannot be reached"),
        ("npipe:////./pipe/docker_engine", "docker-daemon:x:latest: cannot connect to an engine at .*docker save"),
    ],
)
def test_engines_that_are_not_there(host, words):
    with pytest.raises(SourceError, match=words):
        pull("docker-daemon:x", environ={"DOCKER_HOST": host})
