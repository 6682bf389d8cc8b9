"""Run a program and pass on its output in pieces, because the amount is unknown."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PIECE = 1 << 16


def run_telling(
    words: Sequence[str],
    output: Callable[[bytes], None],
    *,
    environment: Mapping[str, str],
    folder: str | None = None,
    seconds: float | None = None,
    ending: int = signal.SIGKILL,
) -> int:
    """Run a program to its end; return its exit status.

    Args:
        words: Program and arguments.
        output: Gets the output of both streams.
        environment: Its environment.
        folder: Its current folder; None for that of this process.
        seconds: Time limit.
        ending: The signal that ends it, if it has to end early.

    Raises:
        TimeoutError: The program took longer and was killed.
        OSError: The program cannot be started.
    """
    end = None if seconds is None else time.monotonic() + seconds
    with subprocess.Popen(
        words,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            _hand_on(process, output, end)
            return process.wait()
        finally:
            process.send_signal(ending)


def _hand_on(process: subprocess.Popen[bytes], output: Callable[[bytes], None], end: float | None) -> None:
    if process.stdout is None:
        return
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = None if end is None else end - time.monotonic()
            if (left is not None and left <= 0) or not selector.select(left):
                raise TimeoutError
            data = os.read(process.stdout.fileno(), _PIECE)
            if not data:
                return
            output(data)
