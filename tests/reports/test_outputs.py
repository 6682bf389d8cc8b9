"""Reports about what is written where (rows h31 to h36): standard streams that are full, gone or closed, and modes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.registry import Credentials
from sifmake.registry.login import keep
from support.images import Blobs, write_layout
from support.layers import file, tar

if TYPE_CHECKING:
    from pathlib import Path

FULL = "standard output: No space left on device; see where it is redirected to\n"
WORDS = [["--help"], ["help", "pull"], ["cache", "list"], ["completion", "bash"], ["cache", "export", "-"]]


@pytest.fixture
def image(tmp_path):
    blobs = Blobs()
    layers = [tar(file("etc/motd", b"hello"))]
    return f"oci:{write_layout(tmp_path / 'image', blobs, {'1': blobs.image(layers)})}:1"


def sifmake(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command as most people do, with buffers."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "sifmake", *words]
    return subprocess.run(command, env=environ, text=True, check=False, timeout=60, **options)


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_h36_what_cannot_be_printed_is_an_error(tmp_path: Path, words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = sifmake(*words, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"sifmake: error: {FULL}")


@pytest.mark.parametrize("words", WORDS[:3], ids=" ".join)
def test_h36_a_reader_that_goes_away_is_told_nothing(tmp_path: Path, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = sifmake(*words, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_h36_a_log_on_a_full_disk_stops_no_work(tmp_path: Path, image: str) -> None:
    with open("/dev/full", "w") as full:
        done = sifmake("pull", "a.sif", image, stderr=full, cwd=tmp_path)
        assert done.returncode == 0
        assert sifmake("verify", "a.sif", stderr=full, stdout=subprocess.PIPE, cwd=tmp_path).returncode == 10
    assert (tmp_path / "a.sif").exists()


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o700), (0o022, 0o755), (0o000, 0o777), (0o027, 0o750)])
def test_h31_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path, monkeypatch, image, mask, mode):
    monkeypatch.chdir(tmp_path)
    before = os.umask(mask)
    try:
        assert main(["-q", "pull", "a.sif", image]) == 0
    finally:
        os.umask(before)
    assert (tmp_path / "a.sif").stat().st_mode & 0o777 == mode


def test_h31_signing_keeps_the_mode(tmp_path, monkeypatch, image):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "keys"))
    assert main(["-q", "pull", "a.sif", image]) == 0
    assert main(["-q", "key", "newpair", "mine"]) == 0
    os.chmod("a.sif", 0o640)
    assert main(["-q", "sign", "--key", "mine", "a.sif"]) == 0
    assert (tmp_path / "a.sif").stat().st_mode & 0o777 == 0o640


def test_h33_a_login_writes_through_a_linked_file_of_credentials(tmp_path, monkeypatch):
    (tmp_path / "dot").mkdir()
    real, link = tmp_path / "dot" / "config.json", tmp_path / "config.json"
    real.write_text('{"auths": {}, "mine": 1}')
    link.symlink_to("dot/config.json")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(link))
    keep("registry.example", Credentials("me", "secret"), {**os.environ})
    assert link.is_symlink()
    assert '"mine"' in real.read_text()
    assert "registry.example" in real.read_text()
