"""One TLS context and one pool for each host, whatever the number of images."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from sifmake import lock
from sifmake.builder.builder import project_builder
from sifmake.oci import Descriptor, parse_platform
from sifmake.project.project import Project
from sifmake.reference import parse_reference
from sifmake.registry import HostSettings, transport
from sifmake.registry.client import RegistryClient
from sifmake.registry.error_responses import NotFoundError
from sifmake.registry.settings import DEFAULT_RETRY
from sifmake.registry.shared import Connections
from sifmake.sources import open_source
from sifmake.sources.registry_image import client_settings
from support.docker_registry import Authority
from support.layers import file, tar
from support.project import Folder
from support.pulling import FAST, NO_ENVIRONMENT, settings
from support.registry import FakeRegistry

IMAGES = 5


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def contexts(monkeypatch):
    made = []
    real = transport.make_context

    def make(settings, environ):
        made.append(settings)
        return real(settings, environ)

    monkeypatch.setattr(transport, "make_context", make)
    return made


def test_the_images_of_a_project_share_a_context_and_connections(authority, contexts, tmp_path):
    with FakeRegistry(tls=authority.issue("registry")) as registry:
        host = registry.host.replace("127.0.0.1", "localhost")
        settings = project_builder(Project(tmp_path)).settings
        own = HostSettings(ca_file=authority.ca_file)
        settings = replace(settings, registries={host: own}, environ=NO_ENVIRONMENT, retry=FAST)
        for number in range(IMAGES):
            registry.tag(f"org/image{number}", "1", registry.blobs.image([b"%d" % number]))
            source = open_source(f"docker://{host}/org/image{number}:1", settings)
            source.resolve(parse_platform("amd64"))
            source.close()
        assert (len(contexts), registry.connections) == (1, 1)
        assert registry.count("GET", "/manifests/") == IMAGES


def test_settings_that_mean_nothing_to_tls_make_no_further_context(authority, contexts, tmp_path):
    with FakeRegistry(tls=authority.issue("registry")) as registry:
        host = registry.host.replace("127.0.0.1", "localhost")
        shared = Connections().transport(NO_ENVIRONMENT, FAST)
        for mirrors in ((), ("mirror.example",)):
            own = HostSettings(ca_file=authority.ca_file, mirrors=mirrors)
            shared.exchange("GET", f"https://{host}/v2/", {}, own).read_all(10)
        assert (len(contexts), registry.connections) == (1, 1)


def test_a_process_that_was_forked_has_connections_of_its_own(monkeypatch):
    connections = Connections()
    own = connections.transport(os.environ, DEFAULT_RETRY)
    assert connections.transport(os.environ, DEFAULT_RETRY) is own
    assert connections.transport(os.environ, FAST) is not own
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert connections.transport(os.environ, DEFAULT_RETRY) is not own


def _head(client, _):
    client.head("1")


def _document(client, _):
    client.manifest("1")


def _config(client, blob):
    client.blob(blob, 100)


def _layer(client, blob):
    with client.open_blob(blob) as reader:
        while reader.read(3):
            pass


def _layer_of_its_size(client, blob):
    with client.open_blob(blob) as reader:
        assert len(reader.read(blob.size)) == blob.size


def _part(client, blob):
    assert b"".join(client.part_reader(blob).read(2, 4)) == b"cdef"


def _missing(client, _):
    with pytest.raises(NotFoundError):
        client.manifest("2")


@pytest.mark.parametrize("ask", [_head, _document, _config, _layer, _layer_of_its_size, _part, _missing])
def test_an_answer_that_was_read_leaves_its_connection_to_the_next_request(ask):
    with FakeRegistry() as registry:
        descriptor = registry.blobs.put(b"abcdefgh", "application/octet-stream")
        registry.tag("org/image", "1", registry.blobs.image([b"a"]))
        client = RegistryClient(parse_reference(f"{registry.host}/org/image"), client_settings(settings(no_https=True)))
        for _ in range(3):
            ask(client, Descriptor("", descriptor["digest"], descriptor["size"]))
        client.close()
        probes = registry.connections - 1
        assert probes <= 1  # the first connection finds out that there is no TLS
        assert len(registry.log) == 3


def test_refreshing_locks_makes_one_context_and_no_more_connections_than_requests_at_a_time(
    authority, contexts, tmp_path, monkeypatch
):
    monkeypatch.delenv("CI", raising=False)
    with FakeRegistry(tls=authority.issue("registry")) as registry:
        host = registry.host.replace("127.0.0.1", "localhost")
        image = registry.blobs.image([tar(file("a", b"a"))])
        images = {}
        for number in range(40):
            registry.tag("org/image", f"v{number}", image)
            images[f"image{number}"] = {"from": f"docker://{host}/org/image:v{number}"}
        config = {"registries": {host: {"ca-file": str(authority.ca_file)}}, "parallel-requests": 3}
        folder = Folder(tmp_path / "project", tmp_path / "home", config, images)
        folder.write()
        monkeypatch.setenv("SIFMAKE_CACHE", str(folder.home / "store"))
        lock(root=folder.root)
        registry.log.clear()
        registry.connections = 0
        contexts.clear()
        assert {outcome.state for outcome in lock(root=folder.root)} == {"unchanged"}
        assert [request.method for request in registry.log] == ["HEAD"] * 40
        assert len(contexts) == 1
        assert registry.connections <= 3
