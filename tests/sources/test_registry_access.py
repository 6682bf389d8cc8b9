"""Rows of the user reports about authentication, redirects and hosts (a5 to a20) on the registry that misbehaves."""

from __future__ import annotations

import base64
import json
import stat
from urllib.parse import parse_qs, urlsplit

import pytest

from sifmake.errors import RegistryError
from sifmake.registry import Credentials, HostSettings
from support.pulling import NO_ENVIRONMENT, Memory, pull
from support.registry import Answer, FakeRegistry, TokenAuth, error

ALICE = Credentials("alice", "pass:word")
BASIC = "Basic " + base64.b64encode(b"alice:pass:word").decode()


@pytest.fixture
def registry():
    with FakeRegistry() as registry:
        registry.tag("org/image", "1", registry.blobs.image([bytes([n]) * 5000 for n in range(4)]))
        yield registry


@pytest.fixture
def cdn():
    """A second host that, like S3, answers 400 to any credentials."""
    with FakeRegistry() as cdn:
        yield cdn


def pull_from(registry, **changes):
    return pull(f"docker://{registry.host}/org/image:1", **changes)


def redirect_blobs(registry, cdn, status=307):
    cdn.blobs = registry.blobs
    xml = Answer(400, b"<Error><Message>Only one auth mechanism allowed</Message></Error>")
    cdn.on("GET", "/", lambda request: xml if "authorization" in request.headers else None)
    to = f"http://{cdn.host}"
    registry.on("GET", "/blobs/", lambda request: Answer(status, headers={"Location": to + request.path}))


def test_a5_a6_tokens_that_die_between_layers_are_renewed(registry):
    auth = TokenAuth(registry, uses=2)
    assert len(pull_from(registry).blobs) == 4
    assert len(auth.issued) >= 3


def test_a5_a_token_that_dies_within_a_layer_is_renewed(registry):
    digest = registry.blobs.document(registry._tags["org/image", "1"])["layers"][2]["digest"]
    TokenAuth(registry, uses=6)
    registry._rules.insert(0, registry._rules[-1].__class__("GET", digest, lambda r: r.served(cut=10), 1))
    assert len(pull_from(registry).blobs) == 4


def test_a7_a_redirect_gets_no_token(registry, cdn):
    TokenAuth(registry)
    redirect_blobs(registry, cdn)
    assert len(pull_from(registry).blobs) == 4
    assert cdn.count("GET", "/blobs/") == 5


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a8_a_redirect_gets_no_password(registry, cdn, status):
    redirect_blobs(registry, cdn, status)
    challenge = error(401, "UNAUTHORIZED", **{"WWW-Authenticate": "Basic realm=ecr"})
    for method in ("GET", "HEAD"):
        rule = registry._rules[-1].__class__(
            method, "/v2/", lambda r: None if r.headers.get("authorization") == BASIC else challenge, float("inf")
        )
        registry._rules.insert(0, rule)
    assert len(pull_from(registry, credentials=ALICE).blobs) == 4
    assert all("authorization" not in request.headers for request in cdn.log)


def test_a7_netrc_is_never_read(registry, cdn, tmp_path, monkeypatch):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1\nlogin eve\npassword secret\n")
    netrc.chmod(stat.S_IRUSR | stat.S_IWUSR)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    redirect_blobs(registry, cdn)
    pull_from(registry)
    assert not any("authorization" in request.headers for request in registry.log + cdn.log)


@pytest.mark.parametrize(
    ("challenge", "service"),
    [
        ('Bearer realm="REALM",scope="repository:NAME:pull,push"', None),
        ('Bearer scope="repository:NAME:pull,push",service="fake",realm="REALM"', "fake"),
        ("bearer realm=REALM, service=fake", "fake"),
        ('Bearer realm="REALM",service="a, b",scope="repository:NAME:pull,push"', "a, b"),
        ('Basic realm="x, y", Bearer realm="REALM",service="fake"', "fake"),
        ('Bearer realm="/token",service="fake"', "fake"),
    ],
    ids=["no service", "order", "no quotes", "commas", "two schemes", "relative"],
)
def test_a9_a10_a11_challenges_are_parsed_by_grammar(registry, challenge, service):
    TokenAuth(registry, challenge=challenge)
    pull_from(registry)
    (asked,) = registry.asked("GET", "/token")
    query = parse_qs(urlsplit(asked.path).query)
    assert query == {"scope": ["repository:org/image:pull"], **({"service": [service]} if service else {})}


def test_a12_a_token_service_that_wants_a_login(registry):
    TokenAuth(registry, user=BASIC)
    with pytest.raises(RegistryError, match=r"access was refused \(401\).*sifmake registry login 127"):
        pull_from(registry)
    assert len(pull_from(registry, credentials=ALICE).blobs) == 4


def test_a13_a_registry_that_asks_for_nothing_is_asked_nothing(registry):
    pull_from(registry)
    assert "/v2/" not in [request.path for request in registry.log]


def test_a14_basic_authentication(registry):
    challenge = error(401, "UNAUTHORIZED", **{"WWW-Authenticate": "Basic realm=x"})
    for method in ("GET", "HEAD"):
        registry.on(method, "/v2/", lambda r: None if r.headers.get("authorization") == BASIC else challenge)
    assert len(pull_from(registry, credentials=ALICE).blobs) == 4
    assert sum("authorization" not in request.headers for request in registry.log) == 1
    with pytest.raises(RegistryError, match=r"refused \(401\) with the credentials of eve from the settings"):
        pull_from(registry, credentials=Credentials("eve", "no"))


def test_a17_plain_http_on_this_machine(registry):
    port = registry.host.rpartition(":")[2]
    for host in ("localhost", "127.0.0.1"):
        assert pull(f"docker://{host}:{port}/org/image:1").name == f"{host}:{port}/org/image:1"


def test_a19_credential_helpers_and_files(registry, tmp_path):
    TokenAuth(registry, user=BASIC)
    helper = tmp_path / "bin" / "docker-credential-fake"
    helper.parent.mkdir()
    answer = json.dumps({"ServerURL": "x", "Username": "alice", "Secret": "pass:word"})
    helper.write_text(f"#!/bin/sh\ncat > {tmp_path}/asked\necho '{answer}'\n")
    helper.chmod(0o755)
    environ = {"PATH": f"{helper.parent}:/usr/bin:/bin", "DOCKER_CONFIG": str(tmp_path), **NO_ENVIRONMENT}
    for document in ({"credHelpers": {registry.host: "fake"}}, {"credsStore": "fake", "auths": {registry.host: {}}}):
        (tmp_path / "config.json").write_text(json.dumps(document))
        assert len(pull_from(registry, environ=environ).blobs) == 4
        assert (tmp_path / "asked").read_text() == registry.host


def test_a19_a_helper_that_fails_is_told_and_gone_without(registry, tmp_path):
    helper = tmp_path / "docker-credential-fake"
    helper.write_text("#!/bin/sh\necho keyring locked >&2\nexit 1\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "fake"}))
    TokenAuth(registry)
    environ = {"PATH": str(tmp_path) + ":/bin", "DOCKER_CONFIG": str(tmp_path)}
    pulled = pull_from(registry, environ=environ)
    assert any("docker-credential-fake failed: keyring locked" in text for text in pulled.messages.warnings)


def test_a19_an_identity_token_is_exchanged(registry, tmp_path):
    form = "grant_type=refresh_token&refresh_token=idt&client_id=sifmake&service=fake"
    form += "&scope=repository%3Aorg%2Fimage%3Apull"
    TokenAuth(registry, user=form)
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"identitytoken": "idt"}}}))
    assert len(pull_from(registry, auth_file=tmp_path / "config.json").blobs) == 4
    assert registry.count("POST", "/token") == 1


@pytest.mark.parametrize("prefix", ["SIFMAKE_", "APPTAINER_", "SINGULARITY_", ""])
def test_a20_credentials_in_variables(registry, prefix):
    TokenAuth(registry, user=BASIC)
    environ = {f"{prefix}DOCKER_USERNAME": "alice", f"{prefix}DOCKER_PASSWORD": "pass:word", **NO_ENVIRONMENT}
    if prefix == "SIFMAKE_":
        environ["SIFMAKE_DOCKER_REGISTRY"] = registry.host
    assert len(pull_from(registry, environ=environ).blobs) == 4


def test_a21_a_mirror_spares_the_registry(registry):
    with FakeRegistry() as mirror:
        mirror.blobs = registry.blobs
        mirror.tag("hub/org/image", "1", registry._tags["org/image", "1"])
        mirrors = {registry.host: HostSettings(mirrors=(f"{mirror.host}/hub",))}
        pulled = pull_from(registry, registries=mirrors)
        assert mirror.count("GET", "/v2/hub/org/image/blobs/") == 5
    assert registry.log == []
    assert pulled.name == f"{registry.host}/org/image:1"


def test_a21_a_lying_mirror_is_found_out_and_passed_over(registry):
    digest = registry._tags["org/image", "1"]["digest"]
    with FakeRegistry() as mirror:
        mirror.on("GET", digest, Answer(200, b'{"schemaVersion": 2}'))
        mirror.on("HEAD", "/manifests/", Answer(200, headers={"Docker-Content-Digest": digest}))
        mirrors = {registry.host: HostSettings(mirrors=(mirror.host,))}
        pulled = pull_from(registry, registries=mirrors, known=Memory(f"{registry.host}/org/image:1"))
    assert pulled.image.digest == digest
    assert any("digest mismatch" in text for text in pulled.messages.warnings)


def test_secrets_are_in_no_message(registry):
    TokenAuth(registry, user="nobody")
    with pytest.raises(RegistryError) as caught:
        pull_from(registry, credentials=Credentials("alice", "hunter2", identity_token="", origin="a file"))
    assert "hunter2" not in str(caught.value) + repr(caught.value)
    assert "hunter2" not in repr(ALICE) + repr(Credentials("a", "hunter2"))


def test_redirects_in_a_circle_end(registry):
    registry.on("GET", "/blobs/", lambda r: Answer(307, headers={"Location": r.path}))
    with pytest.raises(RegistryError, match="circle"):
        pull_from(registry)


def test_an_unknown_scheme_is_named(registry):
    for method in ("GET", "HEAD"):
        registry.on(method, "/v2/", error(401, "UNAUTHORIZED", **{"WWW-Authenticate": "Negotiate"}))
    with pytest.raises(RegistryError, match="unsupported kind of authentication: negotiate"):
        pull_from(registry)
