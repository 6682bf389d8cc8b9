"""One TLS context and one pool for each host, whatever the number of images."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from sifmake.builder.builder import project_builder
from sifmake.oci import parse_platform
from sifmake.project.project import Project
from sifmake.registry import HostSettings, transport
from sifmake.registry.settings import DEFAULT_RETRY
from sifmake.registry.shared import Connections
from sifmake.sources import open_source
from support.docker_registry import Authority
from support.pulling import FAST, NO_ENVIRONMENT
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
