"""Passwords are bytes: they are sent and kept unchanged, whatever their encoding."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import pytest

from sifmake.errors import ConfigError, RegistryError
from sifmake.registry import Credentials, HostSettings
from sifmake.registry.auth_file import parse_auth_file, read_auth_file, store_entry
from sifmake.registry.helper import get, store
from support.proxy import Proxy
from support.pulling import NO_ENVIRONMENT, pull
from support.registry import FakeRegistry, TokenAuth, error

BYTES = "pässwörd".encode("latin-1")
TEXT = BYTES.decode(errors="surrogateescape")
BASIC = f"Basic {base64.b64encode(b'alice:' + BYTES).decode()}"


@pytest.fixture
def registry():
    with FakeRegistry() as registry:
        registry.tag("org/image", "1", registry.blobs.image([b"x" * 1000]))
        yield registry


def guard(registry):
    challenge = error(401, "UNAUTHORIZED", **{"WWW-Authenticate": "Basic realm=x"})
    for method in ("GET", "HEAD"):
        registry.on(method, "/v2/", lambda r: None if r.headers.get("authorization") == BASIC else challenge)


def test_they_open_a_registry_by_basic(registry):
    guard(registry)
    assert pull(f"docker://{registry.host}/org/image:1", credentials=Credentials("alice", TEXT)).blobs


def test_they_open_a_token_service(registry):
    TokenAuth(registry, user=BASIC)
    assert pull(f"docker://{registry.host}/org/image:1", credentials=Credentials("alice", TEXT)).blobs


def test_an_identity_token_of_odd_bytes_is_refused_by_the_service_and_no_defect(registry):
    TokenAuth(registry, user="nobody")
    with pytest.raises(RegistryError, match="access was refused"):
        pull(f"docker://{registry.host}/org/image:1", credentials=Credentials(identity_token=TEXT))


def test_they_come_from_variables_and_files(registry, tmp_path):
    guard(registry)
    where = {"SIFMAKE_DOCKER_REGISTRY": registry.host, "SIFMAKE_DOCKER_USERNAME": "alice"}
    environ = {**NO_ENVIRONMENT, **where, "SIFMAKE_DOCKER_PASSWORD": TEXT}
    assert pull(f"docker://{registry.host}/org/image:1", environ=environ).blobs
    path = tmp_path / "auth.json"
    store_entry(path, registry.host, Credentials("alice", TEXT))
    assert read_auth_file(path).entries[registry.host].password == TEXT
    assert pull(f"docker://{registry.host}/org/image:1", auth_file=path).blobs
    content = {**NO_ENVIRONMENT, "DOCKER_AUTH_CONFIG": path.read_text()}
    assert pull(f"docker://{registry.host}/org/image:1", environ=content).blobs


def test_they_come_by_standard_input(registry, tmp_path):
    guard(registry)
    words = ["registry", "login", "--username", "alice", "--password-stdin", "--authfile", "a.json", registry.host]
    done = subprocess.run(
        [sys.executable, "-m", "sifmake", *words], input=BYTES + b"\n", cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "a.json").read_text())["auths"][registry.host]["auth"]
    assert base64.b64decode(kept) == b"alice:" + BYTES


@pytest.mark.parametrize(
    "entry",
    [
        {"username": "alice", "password": "\ud800"},
        {"username": "\udfff", "password": "x"},
        {"identitytoken": "\ud800"},
        {"registrytoken": "a\nb"},
        {"registrytoken": "\u20ac"},
    ],
)
def test_what_cannot_be_sent_is_a_damaged_file(entry):
    with pytest.raises(ConfigError, match="damaged"):
        parse_auth_file(json.dumps({"auths": {"registry.example": entry}}).encode(), "auth.json")


def test_variables_that_are_no_utf8_are_a_damaged_document(registry):
    guard(registry)
    with pytest.raises(ConfigError, match=r"DOCKER_AUTH_CONFIG: .* damaged"):
        pull(f"docker://{registry.host}/org/image:1", environ={**NO_ENVIRONMENT, "DOCKER_AUTH_CONFIG": "\udcff"})


def test_helpers_take_and_give_whole_characters_only(tmp_path):
    helper = tmp_path / "docker-credential-odd"
    helper.write_text("""#!/bin/sh\necho '{"Username": "alice", "Secret": "\\ud800"}'\n""")
    helper.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with pytest.raises(ConfigError, match="an incomplete character"):
        get("odd", "registry.example", environ)
    with pytest.raises(ConfigError, match="cannot store a password that is not UTF-8"):
        store("odd", "registry.example", Credentials("alice", TEXT), environ)


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("alice:p\udcff", b"alice:p\xff"),
        ("alice:%e9", b"alice:\xe9"),
        ("alice:\u20ac", "alice:\u20ac".encode()),
        ("alice", b"alice:"),
        ("alice:a%3Ab%40c", b"alice:a:b@c"),
    ],
)
def test_a_proxy_gets_them_too(registry, user, sent):
    plain = {"registry.example": HostSettings(plain_http=True)}
    with Proxy(registry.host) as proxy:
        environ = {"HTTP_PROXY": f"http://{user}@{proxy.host}"}
        assert pull("docker://registry.example/org/image:1", registries=plain, environ=environ).blobs
        assert base64.b64encode(sent).decode().lower() in proxy.credentials[0]
