"""Running a command in an image: a child process, whose status and output the caller gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sifmake
from support.hello import HELLO
from support.squashfs_tools import needs_tools


@needs_tools("bwrap", "squashfuse")
def test_a_command_in_a_file(hello: sifmake.SifFile) -> None:
    done = sifmake.execute(hello, ["/usr/bin/hello", "you"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Hello, ")
    failed = sifmake.execute(hello, ["/no/such/program"], capture_output=True, text=True)
    assert failed.returncode not in (0, 1)
    assert "/no/such/program" in failed.stderr
    with pytest.raises(subprocess.CalledProcessError):
        sifmake.execute(hello, ["/no/such/program"], capture_output=True, check=True)


@needs_tools("bwrap", "squashfuse")
def test_the_runscript_of_an_image_by_its_uri(tmp_path: Path) -> None:
    done = sifmake.execute(HELLO, action="run", options=["--contain"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Hello, " in done.stdout


def test_what_cannot_be_run_says_why(tmp_path: Path) -> None:
    done = sifmake.execute("none.sif", ["true"], capture_output=True, text=True)
    assert done.returncode == 255
    assert "none.sif" in done.stderr
    with pytest.raises(sifmake.errors.UsageError, match="the command is missing"):
        sifmake.execute("none.sif")
    with pytest.raises(sifmake.errors.UsageError, match="lists of words"):
        sifmake.execute("none.sif", "true")
    with pytest.raises(sifmake.errors.UsageError, match="no such action"):
        sifmake.execute("none.sif", ["true"], action="start")  # type: ignore[arg-type]


def test_a_module_of_the_current_folder_is_not_taken_for_ours(tmp_path: Path) -> None:
    Path("sifmake").mkdir()
    Path("sifmake/__init__.py").write_text("raise SystemExit('the wrong one')")
    Path("argparse.py").write_text("raise SystemExit('the wrong one')")
    done = sifmake.execute("none.sif", ["true"], capture_output=True, text=True)
    assert "the wrong one" not in done.stderr


def test_an_image_whose_name_is_an_option_is_an_image(tmp_path: Path) -> None:
    done = sifmake.execute("--help", ["true"], capture_output=True, text=True)
    assert done.returncode == 255
    assert "--help" in done.stderr
    assert done.stdout == ""


def test_shims(tmp_path: Path) -> None:
    paths = sifmake.write_shims(tmp_path / "bin")
    assert [path.name for path in paths] == ["apptainer", "singularity"]
    assert sifmake.write_shims(tmp_path / "bin") == paths
    said = subprocess.run([paths[0], "version"], capture_output=True, text=True, check=True).stdout
    assert said.strip()
    paths[1].write_text("#!/bin/sh\necho another\n")
    with pytest.raises(sifmake.errors.TargetExistsError, match="was not written by sifmake"):
        sifmake.write_shims(tmp_path / "bin")
    assert sys.executable in paths[0].read_text()
