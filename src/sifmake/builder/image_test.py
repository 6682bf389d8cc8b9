"""Tests in a finished image, before it gets its name: ``%test``, and ``test:`` of a project."""

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
"""What the program that runs the test gets; the test itself gets none of it."""
_OPTIONS = ("--runtime", "builtin", "--containall", "--no-home", "--cleanenv", "--net", "--network", "none")
_SECONDS = 3600
"""Longest time of a test."""
_HINT = "use --notest to leave it out"


def run_test(sif: Path, where: str, output: Callable[[bytes], None], *, seconds: float = _SECONDS) -> None:
    """Run the test script of a SIF file: no home, no folder of the host, no network, none of the caller's variables.

    Args:
        sif: The file.
        where: What messages call the script.
        output: Gets what it prints.
        seconds: Time limit.

    Raises:
        StepError: It failed, or took too long.
        SifmakeError: It cannot be run here.
    """
    _run(["test", *_OPTIONS, "--", str(sif.absolute())], where, output, _HINT, seconds)


def run_command(
    sif: Path, command: str, where: str, output: Callable[[bytes], None], *, seconds: float = _SECONDS
) -> None:
    """Run a command line by the image's shell in the same surroundings; arguments and errors as of :func:`run_test`."""
    words = ["exec", *_OPTIONS, "--", str(sif.absolute()), "/bin/sh", "-ec", command]
    _run(words, where, output, "the old file stays; change 'test' in images.yaml, or the image", seconds)


def _run(words: list[str], where: str, output: Callable[[bytes], None], hint: str, seconds: float) -> None:
    if not sys.executable:
        raise SifmakeError("this program does not know its Python, so that it cannot start another")
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    program = [sys.executable, "-P", "-m", "sifmake", *words]
    try:
        status = run_telling(program, output, environment=environment, folder="/", seconds=seconds)
    except TimeoutError:
        raise StepError(f"the test took more than {seconds:.0f} s", where=where, hint=hint) from None
    if status:
        raise StepError(f"the test ended with exit status {status}", where=where, hint=hint)
