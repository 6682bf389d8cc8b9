"""One word for one meaning: what makes the exit status non-zero is an error, whatever else the command does."""

from __future__ import annotations

import fcntl
import io
import os
from pathlib import Path

import pytest

from sifmake.cli.console import Console
from sifmake.cli.head_words import SILENT
from sifmake.cli.main import main
from support.images import Blobs, write_layout
from support.layers import file, tar


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two images, of which one is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    blobs = Blobs()
    write_layout(Path("layout"), blobs, {"1": blobs.image([tar(file("a", b"a"))])})
    Path("config").mkdir()
    Path("config/images.yaml").write_text(
        "images:\n  good: {from: 'oci:layout:1', sign: false}\n  bad: {from: 'oci:none', sign: false}\n"
    )
    Path("sifmake.yaml").write_text("{}\n")


def busy():
    Path("results").mkdir()
    fd = os.open("results/.rebuild.lock", os.O_CREAT | os.O_WRONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def damaged_store():
    assert main(["pull", "-q", "x.sif", "oci:layout:1"]) == 0
    (pack,) = (path for path in Path("store/packs").rglob("*-*") if path.is_file())
    data = bytearray(pack.read_bytes())
    data[0] ^= 1
    pack.write_bytes(data)


def failing_notice():
    Path("sifmake.yaml").write_text("notify: ['false']\n")
    Path("config/images.yaml").write_text("images: {good: {from: 'oci:layout:1', sign: false}}\n")


@pytest.mark.parametrize(
    ("words", "before", "status", "said"),
    [
        (["lock"], None, 1, "bad: "),
        (["lock", "--json"], None, 1, "bad: "),
        (["rebuild"], None, 1, "bad: "),
        (["rebuild"], failing_notice, 1, "the notification failed: false: ended with status 1"),
        (["rebuild"], busy, 75, ".: another rebuild of this project is running; nothing was done"),
        (["cache", "verify"], damaged_store, 1, "pack "),
    ],
)
def test_what_fails_is_an_error_even_if_other_parts_succeed(project, capfd, words, before, status, said):
    fd = before() if before else None
    assert main(["-s", *words]) == status
    if fd is not None:
        os.close(fd)
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith(f"sifmake: error: {said}")], lines
    assert not any("warning" in line for line in lines)


def test_what_is_left_out_is_a_warning(project, capsys):
    Path("x.def").write_text("Bootstrap: oci\nFrom: layout\n")
    Path("arguments").write_text("not a line of arguments\n")
    assert main(["lint", "--build-arg-file", "arguments", "x.def"]) == 0
    assert capsys.readouterr().err.startswith("sifmake: warning: arguments")


def test_silent_shows_errors_only():
    stream = io.StringIO()
    console = Console(quiet=SILENT, stream=stream)
    console.warning("no")
    console.error("yes\n")
    assert stream.getvalue() == "sifmake: error: yes\\n\n"
