"""A command in a process of its own, with what it took; for input that must not cost much.

ran = measured("pull", "x.sif", uri, cwd=tmp_path)
assert ran.memory < 256 << 20

A process that was forked from pytest counts pytest's memory as its own peak, after exec too (getrusage(2)). So a small
process starts the command and asks what its children took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

TOO_LONG = 120
"""Seconds after which the process is killed."""


@dataclass(frozen=True)
class Ran:
    """What became of it.

    Attributes:
        status: Exit status; negative for a signal.
        err: Standard error.
        out: Standard output.
        memory: Most bytes that were resident.
        seconds: Of the processor.
    """

    status: int
    err: str
    out: str
    memory: int
    seconds: float


_WATCH = """\
import json, os, resource, sys
status = os.spawnvp(os.P_WAIT, sys.argv[2], sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    json.dump([status, used.ru_maxrss << 10, used.ru_utime + used.ru_stime], file)
"""


WITHIN_LIMITS = {"PYTHONDONTWRITEBYTECODE": "1"}
"""For programs with a limit on the size of files: Python 3.11 would leave truncated byte code beside the modules."""


def measured(*words: str, cwd: Path, before: str = "", **environ: str) -> Ran:
    """Run ``sifmake`` in a folder that also is its home and has its store.

    Args:
        words: Of the command line.
        cwd: The folder.
        before: Statements that the process begins with; ``resource`` is there.
        environ: Further variables.
    """
    program = f"import resource, sys\n{before}\nfrom sifmake.cli.main import main\nsys.exit(main())"
    variables = {"PATH": os.environ["PATH"], "HOME": str(cwd), "SIFMAKE_CACHE": str(cwd / "store"), **environ}
    if before:
        variables |= WITHIN_LIMITS
    return run_measured([sys.executable, "-c", program, *words], cwd, variables)


def run_measured(command: Sequence[str | Path], cwd: Path, environ: Mapping[str, str] | None = None) -> Ran:
    """Run a command; without ``environ`` it has the variables of the tests."""
    words = [sys.executable, "-c", _WATCH]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.NamedTemporaryFile() as report:
        subprocess.run(
            [*words, report.name, "timeout", str(TOO_LONG), *command],
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            check=True,
        )
        status, memory, seconds = json.loads(report.read())
        texts = []
        for file in (err, out):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Ran(status, *texts, memory, seconds)
