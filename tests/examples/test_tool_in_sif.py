"""The example rule that runs a tool from a SIF it depends on, with Apptainer on the machine and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.runtime import environment, needs_runtime

APPTAINER = """#!/bin/sh
# Stands in for apptainer: says that it was asked, and what for.
for word in "$@"; do last=$word; done
echo "apptainer $1 ${last##*/}"
"""


@needs_runtime
@pytest.mark.parametrize("with_apptainer", [False, True])
def test_tool_runs(repository, tmp_path, with_apptainer):
    programs = tmp_path / "programs"
    programs.mkdir()
    if with_apptainer:
        (programs / "apptainer").write_text(APPTAINER)
        (programs / "apptainer").chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    snakefile = repository / "examples" / "tool-in-sif" / "Snakefile"
    work = tmp_path / "work"
    command = [sys.executable, "-m", "snakemake", "-s", str(snakefile), "--directory", str(work), "--cores", "1"]
    done = subprocess.run(command, env=environment(PATH=path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (work / "greeting.txt").read_text() == ("apptainer run hello.sif\n" if with_apptainer else "Hello, world!\n")
