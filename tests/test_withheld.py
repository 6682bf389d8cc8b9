"""Secrets in variables: no program that sifmake starts gets the passphrase."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sifmake import withheld
from sifmake.cli import main as command_line
from sifmake.registry import helper
from sifmake.runtime.caller import given_environment
from sifmake.signing import Passphrase, gpg
from sifmake.sources import engine_connection

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = {
    "SIFMAKE_PASSPHRASE": "sesame 1",
    "SIFMAKE_DOCKER_USERNAME": "sesame 2",
    "SIFMAKE_DOCKER_PASSWORD": "sesame 3",
}


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that write down the environment that they get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gpg", "docker-credential-spy", "apptainer", "ssh"):
        program = folder / name
        program.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\necho '{{}}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("MARK", "here")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "seen"


def assert_without_secrets(seen: Path) -> None:
    text = seen.read_text()
    assert "MARK=here" in text
    assert "sesame" not in text
    seen.unlink()


def test_programs_get_no_secrets(spy: Path, tmp_path: Path) -> None:
    gpg.run_to_end(["gpg", "--version"], b"", ())
    assert_without_secrets(spy)
    helper.servers("spy", os.environ)
    assert_without_secrets(spy)
    connection = engine_connection._SshConnection(["ssh", "host"])
    connection.connect()
    connection.close()
    assert_without_secrets(spy)
    assert not SECRETS.keys() & given_environment(os.environ).keys()


def test_peers_get_no_secrets(spy: Path, tmp_path: Path) -> None:
    image = tmp_path / "a.sif"
    image.touch()
    words = [sys.executable, "-m", "sifmake", "exec", "--runtime", "apptainer", str(image), "true"]
    subprocess.run(words, check=True, capture_output=True)
    assert_without_secrets(spy)


def test_a_command_keeps_the_passphrase_and_its_environment_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run_command(_args: object) -> int:
        child = subprocess.run(["env"], capture_output=True, text=True, check=True)
        seen.append((child.stdout, Passphrase().known(), "SIFMAKE_PASSPHRASE" in os.environ))
        return 0

    monkeypatch.setattr(command_line, "run_command", run_command)
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "sesame 1")
    assert command_line.main(["key", "list"]) == 0
    ((output, known, there),) = seen
    assert "sesame 1" not in output
    assert known == "sesame 1"
    assert not there
    assert os.environ["SIFMAKE_PASSPHRASE"] == "sesame 1"
    monkeypatch.delenv("SIFMAKE_PASSPHRASE")
    assert withheld.passphrase() is None


STARTERS = {"run", "Popen", "call", "check_call", "check_output"}
WITHOUT_ENVIRONMENT = {"execv", "execvp", "execl", "execlp", "spawnv", "system", "popen", "posix_spawnp"}
GIVEN_BEFORE = {"rootless/guard.py"}
"""It hands on the environment that the caller gave it for its program."""


def test_every_program_that_is_started_is_given_an_environment(repository: Path) -> None:
    """A call without one would hand on all that this process has."""
    found, careless = 0, []
    for path in (repository / "src").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            module, name = ast.unparse(call.func.value), call.func.attr
            if module == "subprocess" and name in STARTERS:
                found += 1
                given = [ast.unparse(word.value) for word in call.keywords if word.arg == "env"]
                if not given or not ("without_secrets" in given[0] or given == ["environment"]):
                    careless.append(f"{path.name}:{call.lineno}")
            elif module == "os" and name in WITHOUT_ENVIRONMENT and not str(path).endswith(tuple(GIVEN_BEFORE)):
                careless.append(f"{path.name}:{call.lineno}")
    assert found >= 5
    assert careless == []
