"""Bytecode that a step leaves is not stale in the image, although the times of its files are set back."""

import os
import py_compile
import subprocess
import sys
import time

from support.building import Works, needs_scripts

KINDS = {
    "by_time": py_compile.PycInvalidationMode.TIMESTAMP,
    "by_hash": py_compile.PycInvalidationMode.CHECKED_HASH,
}


@needs_scripts
def test_python_takes_the_bytecode_of_a_step(tmp_path, monkeypatch):
    works = Works(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(tmp_path))
    made = tmp_path / "made"
    made.mkdir()
    for name, kind in KINDS.items():
        source = made / f"{name}.py"
        source.write_text("x = 1\n")
        os.utime(source, (time.time(), time.time()))
        py_compile.compile(str(source), invalidation_mode=kind, doraise=True)
    works.build("%post\n    mkdir -p /opt; cp -a /made /opt/made\n", "tree", sandbox=True, binds=[f"{made}:/made"])
    said = said_by_python(tmp_path / "tree/opt/made", *KINDS)
    assert [f"{name}.py" in line for line, name in zip(matches(said), KINDS, strict=True)] == [True, True]
    assert "stale" not in said


def said_by_python(folder, *names):
    """Import modules from a folder, and return what Python says of it."""
    command = [sys.executable, "-v", "-B", "-S", "-c", f"import {', '.join(names)}"]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stderr


def matches(said):
    return [line for line in said.splitlines() if " matches " in line and "/opt/made/" in line]
