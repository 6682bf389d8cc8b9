"""Secrets in variables: no program that sifmake starts gets the passphrase."""

from __future__ import annotations

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
    gpg.finish(["gpg", "--version"], b"", ())
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
