"""Test a finished image before it gets its final name: ``%test``, and ``test:`` of a project."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sifmake.builder.child_output import run_telling
from sifmake.errors import SifmakeError, StepError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TERM", "TZ", "HOME", "TMPDIR", "SIFMAKE_TMPDIR")
"""Environment of the program that runs the test; the test itself does not get it."""
_OPTIONS = ("--runtime", "builtin", "--containall", "--no-home", "--cleanenv", "--net", "--network", "none")
_SECONDS = 3600
"""Time limit of a test, seconds."""
_HINT = "use --notest to leave it out"


def run_test(sif: Path, where: str, output: Callable[[bytes], None], *, seconds: float = _SECONDS) -> None:
    """Run the test script of a SIF file without home, host folders, network or the caller's variables.

    Args:
        sif: The file.
        where: The script's name in messages.
        output: Gets its output.
        seconds: Time limit.

    Raises:
        StepError: The test failed or took too long.
        SifmakeError: The test cannot run here.
    """
    _run(["test", *_OPTIONS, "--", str(sif.absolute())], where, output, _HINT, seconds)


def run_command(
    sif: Path, command: str, where: str, output: Callable[[bytes], None], *, seconds: float = _SECONDS
) -> None:
    """Run a command line with the image's shell in the same environment; see :func:`run_test`."""
    words = ["exec", *_OPTIONS, "--", str(sif.absolute()), "/bin/sh", "-ec", command]
    _run(words, where, output, "the old file is kept; correct 'test' in images.yaml, or the image", seconds)


def _run(words: list[str], where: str, output: Callable[[bytes], None], hint: str, seconds: float) -> None:
    if not sys.executable:
        raise SifmakeError("cannot find the Python interpreter of this process")
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    program = [sys.executable, "-P", "-m", "sifmake", *words]
    try:
        status = run_telling(program, output, environment=environment, folder="/", seconds=seconds)
    except TimeoutError:
        raise StepError(f"the test took more than {seconds:.0f} s", where=where, hint=hint) from None
    if status:
        raise StepError(f"the test ended with exit status {status}", where=where, hint=hint)
