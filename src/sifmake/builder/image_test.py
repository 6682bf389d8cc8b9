"""Run the test of a finished image before it takes the place of the old one; a test that passed is not repeated."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.builder.child_output import run_telling
from sifmake.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ENVIRONMENT = (
    "PATH", "LANG", "LC_ALL", "TERM", "TZ", "HOME", "TMPDIR", "SIFMAKE_TMPDIR",
    "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "LD_LIBRARY_PATH",
)  # fmt: skip
"""Environment of the program that runs the test, sifmake itself; the test does not get it."""
_OPTIONS = ("--runtime", "builtin", "--containall", "--no-home", "--cleanenv", "--no-privs")
_OFFLINE = ("--net", "--network", "none")
_SECONDS = 3600
"""Time limit of a test, seconds."""
_HINT = "use --notest to leave it out"


@dataclass(frozen=True)
class ImageTest:
    """How the test of an image runs: without home, host folders, privileges, keys, or the caller's variables.

    Attributes:
        image: A SIF file or a sandbox.
        where: The test's name in messages.
        output: Gets its output.
        network: Whether it has the host's network.
        hint: What to do if it fails.
        seconds: Time limit.
    """

    image: Path
    where: str
    output: Callable[[bytes], None]
    network: bool = False
    hint: str = _HINT
    seconds: float = _SECONDS

    def run_script(self) -> None:
        """Run the test script of the image.

        Raises:
            StepError: The test failed or took too long.
            SifmakeError: The test cannot run here.
        """
        self._run(["test"], [])

    def run_command(self, command: str) -> None:
        """Run a command line with the image's shell; raises like :meth:`run_script`."""
        self._run(["exec"], ["/bin/sh", "-ec", command])

    def _run(self, action: list[str], words: list[str]) -> None:
        from sifmake.rootless.confine import run_confined
        from sifmake.rootless.interpreter import program_words

        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        options = [*_OPTIONS, *(() if self.network else _OFFLINE)]
        sifmake = [sys.executable, "-P", "-m", "sifmake", *action, *options, "--", str(self.image.absolute()), *words]
        program = [*program_words(run_confined), *sifmake]
        try:
            status = run_telling(program, self.output, environment=environment, folder="/", seconds=self.seconds)
        except TimeoutError:
            what = f"the test took more than {self.seconds:.0f} s"
            raise StepError(what, where=self.where, hint=self.hint) from None
        if status:
            raise StepError(f"the test ended with exit status {status}", where=self.where, hint=self.hint)
