"""The reference and the man pages say what the code says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from support.project import REPOSITORY

MAN_PAGES = sorted((REPOSITORY / "docs/man").glob("*.1"))


def test_generated_files_are_up_to_date() -> None:
    command = [sys.executable, REPOSITORY / "docs/generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), "run: python docs/generate.py"


def test_every_command_has_a_man_page() -> None:
    command = [sys.executable, "-m", "sifmake", "--help"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^ {4}([a-z]+)(?: |$)", listed, flags=re.MULTILINE))
    assert {"pull", "exec", "key"} <= names
    assert {f"sifmake-{name}.1" for name in names} | {"sifmake.1"} == {path.name for path in MAN_PAGES}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("path", MAN_PAGES, ids=lambda path: path.name)
def test_man_pages_are_good_roff(path) -> None:
    command = ["groff", "-man", "-Tutf8", "-P-cbou", "-ww", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "SYNOPSIS" in done.stdout or "COMMANDS" in done.stdout
