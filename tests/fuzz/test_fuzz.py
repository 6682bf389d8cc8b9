"""Each target with some hundred inputs, always the same, in a process of its own with a bound on memory.

README.md says how to try more.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fuzz import seeds
from fuzz.__main__ import NAMES
from fuzz.engine import Fuzzer, Target
from fuzz.targets import TARGETS
from sifmake.errors import SifError
from support.corpus import needs_corpus
from support.project import REPOSITORY

SECONDS = os.environ.get("SIFMAKE_FUZZ_SECONDS", "")
INPUTS = {"squashfs": 3000, "json": 3000, "recipes": 3000, "remotes": 2000, "yaml": 150, "archives": 200}
"""So many are tried in a few seconds; 400 of the others."""
PATIENCE = 600


def fuzz(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    environ = {**os.environ, "PYTHONHASHSEED": "0"}  # so that the same numbers always give the same inputs
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environ)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_errors_of_our_own(name: str, tmp_path) -> None:
    much = ["--seconds", SECONDS] if SECONDS else ["--seconds", str(PATIENCE), "--inputs", str(INPUTS.get(name, 400))]
    said = fuzz(name, *much, "--faults", str(tmp_path))
    assert ", 0 faults" in said


def test_the_names_are_those_of_the_targets() -> None:
    assert list(TARGETS) == list(NAMES)


@needs_corpus
def test_the_corpus_is_where_targets_start() -> None:
    assert len(seeds.corpus("tar/**/*.tar")) > 20
    assert len(seeds.keys_of_corpus()) > 3


def target(run) -> Target:
    return Target("x", lambda: [b"seed"], run, tokens=(b"magic",))


def too_slow(data: bytes) -> None:
    if b"m" in data:
        while True:
            pass


def unexpected(data: bytes) -> None:
    if data[:2] == b"ma":
        raise KeyError(data)


def out_of_memory(data: bytes) -> None:
    if b"m" in data:
        raise MemoryError


@pytest.mark.parametrize(
    ("run", "kind"), [(too_slow, "TooSlowError"), (unexpected, "KeyError"), (out_of_memory, "MemoryError")]
)
def test_faults_are_found_and_kept(run, kind: str, tmp_path, monkeypatch) -> None:
    if run is too_slow:  # the others would be too slow on a busy machine
        monkeypatch.setattr("fuzz.engine.MOST_SECONDS", 0.02)
        monkeypatch.setattr("fuzz.engine.SUSPICIOUS", 0.01)
        monkeypatch.setattr("fuzz.engine.attempt.__defaults__", (0.05,))
    report = Fuzzer(target(run), tmp_path).run(PATIENCE, inputs=12)
    assert [where.partition(" ")[0] for where in report.faults] == [kind]
    (kept,) = tmp_path.iterdir()
    assert str(kept) in next(iter(report.faults.values()))


def test_errors_with_a_line_are_no_faults(tmp_path) -> None:
    def refuse(data: bytes) -> None:
        raise SifError("no")

    report = Fuzzer(target(refuse), tmp_path).run(PATIENCE, inputs=20)
    assert report.runs == 20
    assert not report.faults
