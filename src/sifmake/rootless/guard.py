"""Start a program on the host so that everything it has started ends when its caller is gone."""

from __future__ import annotations

import os
import signal
import sys

from sifmake.runtime import system
from sifmake.runtime.children import end_all, reap

_ENDING = 10.0
"""Seconds after which processes are left that cannot be killed, such as those of another user."""
_PASSED_OVER = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""What a terminal sends to all processes: the caller then decides."""
_CANNOT_START = 127
"""The status that shells use."""


def run_guarded() -> None:
    """Run the program in the arguments, after the id of the calling process, and end with its status.

    If the caller ends, or sends SIGTERM, the program and all its descendants are ended, daemons too. What it leaves
    running at its own end goes on.
    """
    caller, words = int(sys.argv[1]), sys.argv[2:]
    awaited = {signal.SIGCHLD, signal.SIGTERM}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*awaited, *_PASSED_OVER})
    system.become_subreaper()
    system.set_parent_death_signal(signal.SIGTERM)
    if os.getppid() != caller:
        sys.exit(128 + signal.SIGTERM)
    try:
        program = os.posix_spawnp(
            words[0], words, os.environ, setsigdef=[signal.SIGPIPE, signal.SIGXFSZ], setsigmask=mask
        )
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
        sys.exit(_CANNOT_START)
    while signal.sigwait(awaited) == signal.SIGCHLD:
        ended = reap()
        if program in ended:
            sys.exit(ended[program])
    end_all(seconds=_ENDING)
    sys.exit(128 + signal.SIGTERM)
