"""``sifmake registry``: what it asks a user, and what it does not print."""

from __future__ import annotations

import io
import json

import pytest

from sifmake.cli.main import main
from support.registry import FakeRegistry, TokenAuth, error

SECRET = "hunter2"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in an empty home; return its status and all that it said."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "DOCKER_AUTH_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)

    def run(*words, typed=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        try:
            status = main(["registry", *words])
        except SystemExit as end:
            status = end.code
        return status, "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize("words", [["-p", SECRET], ["--password", SECRET], [f"--password={SECRET}"], [f"-p{SECRET}"]])
@pytest.mark.parametrize("first", [True, False])
def test_a_password_among_the_arguments_is_refused_and_not_repeated(run, tmp_path, words, first):
    registry = ["docker://quay.io"]
    status, said = run("login", "-u", "alice", *(words + registry if first else registry + words))
    assert (status, said.count("\n")) == (2, 1)
    assert "--password-stdin docker://quay.io" in said
    assert SECRET not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["docker://", "", "quay io", "-", "quay.io:port", "://"])
def test_what_is_not_a_registry_is_not_asked(run, host):
    status, said = run("login", "-u", "alice", "--password-stdin", "--", host, typed=SECRET)
    assert (status, said.count("\n")) == (2, 1)
    assert "not the name of a registry; write its host name" in said


def test_a_password_that_is_refused_is_asked_about(run, tmp_path):
    with FakeRegistry() as registry:
        TokenAuth(registry, user="nobody")
        status, said = run("login", "-u", "alice", "--password-stdin", registry.host, typed=SECRET)
    assert status == 1
    assert "refused (401) with the credentials of alice from the command line; check user and password" in said
    assert SECRET not in said
    assert not (tmp_path / ".docker").exists()


@pytest.mark.parametrize("name", ["DOCKER_AUTH_CONFIG", "APPTAINER_DOCKER_USERNAME"])
def test_a_login_would_not_help_where_a_variable_comes_before_it(run, monkeypatch, name, capsys):
    with FakeRegistry() as registry:
        challenge = error(401, "UNAUTHORIZED", **{"WWW-Authenticate": "Basic realm=x"})
        registry.on("GET", "/v2/", challenge)
        entry = {"auths": {registry.host: {"username": "eve", "password": SECRET}}}
        monkeypatch.setenv(name, "eve" if "USERNAME" in name else json.dumps(entry))
        monkeypatch.setenv("APPTAINER_DOCKER_PASSWORD", SECRET)
        assert main(["-q", "pull", "x.sif", f"docker://{registry.host}/x"]) == 1
    said = capsys.readouterr().err
    hint = f"correct or unset {name}, which overrides `sifmake registry login`"
    assert f"the credentials of eve from {name}; {hint}" in said
    assert SECRET not in said
