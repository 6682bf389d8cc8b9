"""Errors use the words that were typed: relative paths stay relative, ``-`` is standard input."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.cli.typed_paths import name_as_typed
from sifmake.errors import SifError
from support.runtime import needs_runtime
from support.signing import write_sif

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a SIF file and what resembles one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    whole = write_sif(tmp_path / "a.sif").read_bytes()
    (tmp_path / "cut.sif").write_bytes(whole[:20_000])
    (tmp_path / "text.sif").write_text("no image\n")
    (tmp_path / "box").mkdir()
    return tmp_path


COMMANDS = [
    *(f"{word} {{}}" for word in ("run", "shell", "test", "inspect", "run-help", "verify", "sif list", "lint")),
    *("exec {} true", "diff {} a.sif", "push {} oras://127.0.0.1:1/x", "sif dump 1 {}", "cache import {}"),
    *("key import {}", "pull -F o.sif {}", "pull -F o.sif ./{}", "build --sandbox -F o {}/x"),
    *("pull -F o.sif docker-archive:{}", "pull -F o.sif oci-archive:{}", "pull -F o.sif oci:{}", "lock --root {}"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_relative_paths_stay_relative(folder: Path, capfd: pytest.CaptureFixture[str], command: str) -> None:
    for name in ("missing.sif", "cut.sif", "text.sif", "box"):
        words = command.format(name).split()
        runs = words[0] in ("exec", "run", "shell", "test")
        assert main(["-q", words[0], *["--runtime=builtin"] * runs, *words[1:]]) != 0
        out, error = capfd.readouterr()
        assert name in out + error
        assert str(folder) not in out + error


def test_build_of_a_cut_file_names_it_as_typed_and_no_server(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["build", "o.sif", "cut.sif"], ["pull", "o.sif", "cut.sif"]):
        assert main(["-q", *words]) == 1
        error = capsys.readouterr().err
        assert error.startswith("sifmake: error: cut.sif: ")
        assert "server" not in error
    assert not (folder / "o.sif").exists()


@pytest.mark.parametrize("words", [["cache", "import", "-"], ["key", "import", "-"]])
@pytest.mark.parametrize("text", [b"", b"nothing that fits\n" * 100])
def test_a_dash_is_called_standard_input(folder: Path, words: list[str], text: bytes) -> None:
    done = subprocess.run([sys.executable, "-m", "sifmake", *words], input=text, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"sifmake: error: standard input: ")


@pytest.mark.parametrize(
    "words", [["pull", "o.sif", "oci:/x"], ["exec", "../a.sif", "a"], ["lock"], ["init"], ["stage", "pull", "a"]]
)
def test_a_current_folder_that_was_removed_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(words) != 0
    assert capsys.readouterr().err.endswith("; the current folder was removed: change to another one\n")


@needs_runtime
def test_a_file_system_that_cannot_be_read_is_told_of_its_file(folder: Path) -> None:
    """The test file's partition is not a squashfs, whichever program finds that out."""
    words = [sys.executable, "-m", "sifmake", "exec", "--runtime=builtin", "a.sif", "true"]
    done = subprocess.run(words, capture_output=True, check=False)
    assert done.returncode == 255
    assert done.stderr.startswith(b"sifmake: error: a.sif: ")
    assert b"/proc/" not in done.stderr


def test_only_the_path_itself_is_renamed(folder: Path) -> None:
    error = SifError("odd", where=f"{folder}/a.sif.old")
    name_as_typed(error, "a.sif")
    assert error.where == f"{folder}/a.sif.old"
    failed = OSError(2, os.strerror(2), f"{folder}/a.sif")
    name_as_typed(failed, "", f"{folder}/a.sif", "a.sif")
    assert failed.filename == "a.sif"
