"""``docker-daemon:`` on an engine's API that stands in this process, on a Unix socket."""

from __future__ import annotations

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

import pytest

from sifmake.errors import IntegrityError, SourceError
from sifmake.oci import parse_platform
from sifmake.sources import open_source
from support.images import Blobs, write_docker_archive
from support.pulling import Memory, pull, settings


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Has images; remembers what it was asked."""

    daemon_threads = True

    def __init__(self, path):
        self.images: dict[str, tuple[str, bytes]] = {}
        self.log: list[str] = []
        self.cut: int | None = None
        super().__init__(str(path), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Engine

    def address_string(self):
        return "engine"

    def do_GET(self):
        self.server.log.append(self.path)
        name, _, what = unquote(self.path).removeprefix("/images/").rpartition("/")
        found = self.server.images.get(name)
        if found is None:
            return self.answer(404, json.dumps({"message": f"No such image: {name}"}).encode())
        body = json.dumps({"Id": found[0]}).encode() if what == "json" else found[1]
        return self.answer(200, body if what == "json" else body[: self.server.cut])

    def answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


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
    with pytest.raises(SourceError, match=r"docker-daemon:nope:latest: the engine has no such image; docker pull"):
        pull("docker-daemon:nope", environ=environ)


def test_an_export_that_breaks_off(engine, environ, image):
    engine.cut = 1500
    with pytest.raises(IntegrityError, match="cut off"):
        pull("docker-daemon:org/x:1", environ=environ)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("unix:///nowhere/docker.sock", "cannot be reached.*DOCKER_HOST"),
        ("tcp://127.0.0.1:9", "cannot be reached"),
        ("ssh://host", "cannot be asked.*docker save"),
    ],
)
def test_engines_that_are_not_there(host, words):
    with pytest.raises(SourceError, match=words):
        pull("docker-daemon:x", environ={"DOCKER_HOST": host})
