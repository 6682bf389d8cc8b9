"""Run this command once more, in a process that needs less memory."""

from __future__ import annotations

import os
import sys

from sifmake.memory import environment_without_threads


def run_again_without_threads() -> None:
    """Replace this process by one that runs the same command without threads; return if this is that process.

    Raises:
        OSError: The process cannot be started.
    """
    environ = environment_without_threads()
    if environ is not None:
        os.execve(sys.executable, sys.orig_argv, environ)
