"""The commands at the head of each example work as they are written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.project import REPOSITORY
from support.stand_in import needs_containers, only


@needs_containers
@pytest.mark.parametrize(
    ("name", "result"),
    [("consumer", "results/greeting.txt"), ("tool-in-sif", "greeting.txt"), ("definitions", "greeting.txt")],
)
def test_the_commands_work(tmp_path: Path, name: str, result: str) -> None:
    root = tmp_path / "repository"
    made = shutil.ignore_patterns(".snakemake", "results", "logs", "*.sif", "*.log", "locks")
    for folder in ("examples", "workflow", "profiles", "envs"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=made)
    lines = (root / f"examples/{name}/Snakefile").read_text().splitlines()
    commands = [line.removeprefix("#").strip() for line in lines if line.startswith("#     ")]
    assert commands
    env = only(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", HOME=str(tmp_path))
    done = subprocess.run(
        ["sh", "-ec", "\n".join(commands)], cwd=root, env=env, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"Hello,", "Hi"} & set((root / f"examples/{name}" / result).read_text().split())
