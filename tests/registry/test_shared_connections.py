"""One TLS context and one pool for each host, whatever the number of images."""

from __future__ import annotations

import os
from urllib.parse import parse_qs, urlsplit

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
from sifmake.registry.settings import DEFAULT_RETRY, Credentials
from sifmake.registry.shared import Connections
from sifmake.sources import open_source
from sifmake.sources.registry_image import client_settings
from support.docker_registry import Authority
from support.layers import file, tar
from support.project import Folder
from support.pulling import FAST, NO_ENVIRONMENT, settings
from support.registry import FakeRegistry, TokenAuth

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


def _resolve(settings, *uris):
    for uri in uris:
        source = open_source(f"docker://{uri}", settings)
        source.resolve(parse_platform("amd64"))
        source.close()


@pytest.fixture
def asking():
    """A registry with two repositories that wants tokens, and the settings of a run that knows its scheme."""
    with FakeRegistry() as registry:
        for number in range(IMAGES):
            for name in ("org/one", "org/two"):
                registry.tag(name, f"v{number}", registry.blobs.image([b"%d" % number]))
        auth = TokenAuth(registry)
        known = {registry.host: HostSettings(plain_http=True)}
        yield registry, auth, settings(registries=known, shared=Connections())


def test_the_images_of_a_repository_share_its_token(asking):
    registry, auth, run = asking
    uris = [f"{registry.host}/org/{name}:v{number}" for number in range(IMAGES) for name in ("one", "two")]
    _resolve(run, *uris)
    assert len(auth.issued) == 2
    scopes = [parse_qs(urlsplit(request.path).query)["scope"] for request in registry.asked("GET", "/token")]
    assert scopes == [["repository:org/one:pull"], ["repository:org/two:pull"]]
    assert registry.count("GET", "/manifests/") == 2 + 2 * IMAGES  # the first of each repository is refused


def test_a_token_that_is_refused_is_replaced_for_all(asking):
    registry, auth, run = asking
    auth.uses = 4  # two images: a manifest and a config each
    _resolve(run, *(f"{registry.host}/org/one:v{number}" for number in range(IMAGES)))
    assert len(auth.issued) == (IMAGES + 1) // 2


def test_a_token_serves_only_those_who_have_the_same_credentials(asking):
    registry, auth, run = asking
    for given in (None, Credentials("alice", "pass:word"), Credentials("eve", "no")):
        _resolve(replace(run, credentials=given), f"{registry.host}/org/one:v1", f"{registry.host}/org/one:v2")
    assert len(auth.issued) == 3


def test_a_host_that_may_turn_out_to_have_no_tls_gets_no_token_of_others(asking):
    registry, auth, run = asking
    _resolve(replace(run, registries={}), f"{registry.host}/org/one:v1", f"{registry.host}/org/one:v2")
    assert len(auth.issued) == 2


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
