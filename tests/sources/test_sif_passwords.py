"""SIF files on web servers that want a user and a password."""

from __future__ import annotations

import base64
import hashlib
import io
import json

import pytest

from sifmake.errors import RegistryError
from sifmake.registry import Credentials, HostSettings
from sifmake.sources import open_sif_source
from sifmake.sources.web_server import WebServer
from support.docker_registry import Authority
from support.messages import Messages
from support.pulling import NO_ENVIRONMENT, settings
from support.registry import Answer, FakeRegistry, error

SIF = b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0" + bytes(range(256)) * 100
DIGEST = f"sha256:{hashlib.sha256(SIF).hexdigest()}"
ALICE = f"Basic {base64.b64encode(b'alice:hunter2').decode()}"


def guard(server, challenge='Basic realm="files"', action=None):
    """Let a server give ``/file.sif`` to alice only."""

    def answer(request):
        if request.headers.get("authorization") != ALICE:
            return error(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge})
        return action(request) if action else Answer(200, SIF, {"ETag": '"1"'})

    for method in ("GET", "HEAD"):
        server.on(method, "/file.sif", answer)


@pytest.fixture
def server(tmp_path):
    with FakeRegistry(tls=Authority(tmp_path).issue("server")) as server:
        server.host = server.host.replace("127.0.0.1", "localhost")
        yield server


def trusting(server, folder, **changes):
    registries = {server.host: HostSettings(ca_file=folder / "ca.pem")}
    return settings(**{"registries": registries, "progress": Messages(), **changes})


def auth_file(folder, host):
    path = folder / "auth.json"
    path.write_text(json.dumps({"auths": {host: {"auth": ALICE.removeprefix("Basic ")}}}))
    return path


def fetch(uri, folder, options):
    source = open_sif_source(uri, options)
    try:
        return source.resolve(), source.fetch(folder / "x.sif")
    finally:
        source.close()


def test_the_file_of_credentials_opens_the_server(server, tmp_path):
    guard(server)
    options = trusting(server, tmp_path, auth_file=auth_file(tmp_path, server.host))
    resolved, written = fetch(f"https://{server.host}/file.sif", tmp_path, options)
    assert written == DIGEST
    assert resolved
    sent = [request.headers.get("authorization") for request in server.log]
    assert sent == [None, ALICE, ALICE]  # once it has asked, it gets the password at once


def test_typed_credentials_and_variables_do_so_too(server, tmp_path):
    guard(server)
    uri = f"https://{server.host}/file.sif"
    assert fetch(uri, tmp_path, trusting(server, tmp_path, credentials=Credentials("alice", "hunter2")))[1] == DIGEST
    pair = {"SIFMAKE_DOCKER_USERNAME": "alice", "SIFMAKE_DOCKER_PASSWORD": "hunter2"}
    bound = {**NO_ENVIRONMENT, **pair, "SIFMAKE_DOCKER_REGISTRY": server.host}
    assert fetch(uri, tmp_path, trusting(server, tmp_path, environ=bound))[1] == DIGEST
    with pytest.raises(RegistryError, match="the file is private"):
        fetch(uri, tmp_path, trusting(server, tmp_path, environ={**NO_ENVIRONMENT, **pair}))


def test_without_them_one_line_says_what_to_do(server, tmp_path):
    guard(server)
    with pytest.raises(RegistryError, match=r"\(401\): the file is private or .*; run `sifmake registry login"):
        fetch(f"https://{server.host}/file.sif", tmp_path, trusting(server, tmp_path))


def test_wrong_ones_are_named_by_their_origin_and_not_repeated(server, tmp_path):
    guard(server)
    wrong = Credentials("eve", "hunter3", origin="auth.json")
    with pytest.raises(RegistryError, match=r"refused \(401\) with the credentials of eve from auth\.json") as caught:
        fetch(f"https://{server.host}/file.sif", tmp_path, trusting(server, tmp_path, credentials=wrong))
    assert "hunter3" not in str(caught.value)


def test_a_web_server_names_nobody_else_who_gets_the_password(server, tmp_path):
    with FakeRegistry() as other:
        guard(server, challenge=f'Bearer realm="http://{other.host}/token"')
        options = trusting(server, tmp_path, credentials=Credentials("alice", "hunter2"))
        with pytest.raises(RegistryError, match="401"):
            fetch(f"https://{server.host}/file.sif", tmp_path, options)
        assert not other.log


def test_the_target_of_a_redirect_does_not_get_it(server, tmp_path):
    with FakeRegistry() as other:
        other.on("GET", "/there.sif", Answer(200, SIF))
        guard(server, action=lambda _: Answer(302, headers={"Location": f"http://{other.host}/there.sif"}))
        options = trusting(server, tmp_path, credentials=Credentials("alice", "hunter2"))
        assert open_sif_source(f"https://{server.host}/file.sif", options).fetch(tmp_path / "x.sif") == DIGEST
        assert "authorization" not in other.log[0].headers


def test_a_server_without_tls_gets_no_password_but_on_this_machine(tmp_path):
    options = settings(progress=Messages(), credentials=Credentials("alice", "hunter2"))
    assert WebServer("http://files.example/file.sif", options)._credentials() is None
    assert WebServer("https://files.example/file.sif", options)._credentials() == options.credentials
    with FakeRegistry() as server:
        guard(server)
        assert fetch(f"http://{server.host}/file.sif", tmp_path, options)[1] == DIGEST


def test_a_login_to_a_web_server_is_kept(monkeypatch, tmp_path, capsys):
    from sifmake.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("hunter2\n"))
    with FakeRegistry() as server:
        server.on("GET", "/v2/", Answer(404))
        words = ["registry", "login", "--username", "alice", "--password-stdin", "--authfile", "a.json", server.host]
        assert main(words) == 0
        assert "is not a registry; the password is kept unchecked" in capsys.readouterr().err
    assert ALICE.removeprefix("Basic ") in (tmp_path / "a.json").read_text()
