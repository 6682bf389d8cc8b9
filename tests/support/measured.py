"""A command in a process of its own, with what it took; for input that must not cost much.

ran = measured("pull", "x.sif", uri, cwd=tmp_path)
assert ran.memory < 256 << 20
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            ["timeout", str(TOO_LONG), sys.executable, "-c", program, *words],
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (err, out):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Ran(process.returncode, *texts, used.ru_maxrss << 10, used.ru_utime + used.ru_stime)
