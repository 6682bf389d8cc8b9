"""Locks name the signing key; neither its passphrase nor the secret is needed for that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.errors import KeyFileError
from sifmake.project.configuration import Configuration
from sifmake.project.keys import key_identity
from sifmake.signing import keystore

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    """The recipe of the documentation: a key with a passphrase, its public half in config/keys; nobody can be asked."""
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "configuration"))
    monkeypatch.setattr("sifmake.cli.asking.ask", lambda _: pytest.fail("somebody was asked"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phrase").write_text("sesame\n")
    (tmp_path / "config/keys").mkdir(parents=True)
    assert main(["-q", "key", "newpair", "--passphrase-file", "phrase", "robot"]) == 0
    assert main(["-q", "key", "export", "robot", "config/keys/robot.pem"]) == 0
    return Configuration(key="robot", trusted_keys=(tmp_path / "config/keys",))


def without_trusted(config: Path) -> None:
    (keystore.trusted_folder(config) / "robot.pem").unlink()


def without_secret(config: Path) -> None:
    keystore.secret_path(config, "robot").unlink()
    without_trusted(config)


def without_exported(_: Path) -> None:
    Path("config/keys/robot.pem").unlink()


CHANGES = [lambda _: None, without_trusted, without_secret, without_exported]


@pytest.mark.parametrize("change", CHANGES, ids=["all", "no trusted key", "no secret", "nothing exported"])
def test_the_fingerprint_is_found_without_a_passphrase(project: Configuration, change: Callable[[Path], None]) -> None:
    known = key_identity(project)
    assert known.startswith("SHA256:")
    change(Path("configuration").absolute())
    assert key_identity(project) == known


@pytest.mark.parametrize("public", ["robot.pub", "robot.pem.pub"])
def test_a_public_key_beside_the_private_one_is_found(project: Configuration, public: str, tmp_path: Path) -> None:
    known = key_identity(project)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    keystore.secret_path(Path("configuration"), "robot").rename(folder / "robot.pem")
    Path("config/keys/robot.pem").rename(folder / public)
    assert key_identity(replace(project, key=str(folder / "robot.pem"))) == known


def test_a_key_of_another_name_is_not_taken_for_it(project: Configuration) -> None:
    without_secret(Path("configuration").absolute())
    Path("config/keys/robot.pem").rename("config/keys/other.pem")
    with pytest.raises(KeyFileError, match=r"sifmake key export robot config/keys/robot\.pem"):
        key_identity(project)


def test_a_secret_that_opens_beats_a_public_key_of_its_name(project: Configuration) -> None:
    stale = key_identity(project)
    assert main(["-q", "key", "remove", "-s", "robot"]) == 0
    without_trusted(Path("configuration").absolute())
    Path("empty").write_text("\n")
    assert main(["-q", "key", "newpair", "--passphrase-file", "empty", "robot"]) == 0
    assert key_identity(project) != stale


def test_the_passphrase_comes_from_the_file_that_the_variable_names(
    project: Configuration, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del project
    from sifmake.signing import Passphrase, load_signer

    monkeypatch.setenv("SIFMAKE_PASSPHRASE_FILE", "phrase")
    assert load_signer("robot", Passphrase()).fingerprint
    Path("phrase").write_text("wrong\n")
    with pytest.raises(KeyFileError, match="first line of phrase"):
        load_signer("robot", Passphrase())
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "sesame")
    assert load_signer("robot", Passphrase()).fingerprint, "the variable itself comes first"
    capsys.readouterr()
