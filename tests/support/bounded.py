"""Running sifmake in a process of its own and measuring what it cost: for inputs that want to cost a lot."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
MOST_MEMORY = 256 * MIB
MOST_SECONDS = 5.0

_PROGRAM = """
import json, resource, sys
from sifmake.cli.main import main
try:
    status = main(sys.argv[2:])
except SystemExit as error:
    status = error.code
usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
with open(sys.argv[1], "w") as file:
    json.dump([status, sum(one.ru_utime + one.ru_stime for one in usage), int(peak) * 1024], file)
"""


class Cost(NamedTuple):
    """What a command said and cost.

    Attributes:
        status: Its exit status.
        out: Its standard output.
        err: Its standard error.
        seconds: Processor time.
        memory: Most bytes that were resident.
    """

    status: int
    out: str
    err: str
    seconds: float
    memory: int


def run_bounded(folder: Path, *arguments: str | Path, environ: dict[str, str] | None = None) -> Cost:
    """Run a command of sifmake; the folder is for the figures. It fails where the process is killed."""
    figures = folder / "figures.json"
    words = [sys.executable, "-c", _PROGRAM, str(figures), *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=environ)
    assert figures.exists(), done.stderr
    status, seconds, memory = json.loads(figures.read_text())
    figures.unlink()
    return Cost(status, done.stdout, done.stderr, seconds, memory)


def assert_refused(cost: Cost, *, status: int = 1) -> None:
    """Check that a hostile input ended in one line, soon and in little memory."""
    assert cost.status == status, cost
    assert cost.err.startswith("sifmake: error: "), cost
    assert cost.err.count("\n") == 1, cost
    assert "defect" not in cost.err, cost
    assert_cheap(cost)


def assert_cheap(cost: Cost) -> None:
    """Check that a command took no more time and memory than any input of up to 10 MB may."""
    assert cost.seconds <= MOST_SECONDS, cost
    assert cost.memory <= MOST_MEMORY, cost
