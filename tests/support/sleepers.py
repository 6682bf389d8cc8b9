"""Processes that a script leaves asleep: found by a time that no other process sleeps for."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 77_000_000 + os.getpid()


def sleepers() -> list[int]:
    """Return the processes that run ``sleep`` for :data:`SECONDS`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"sleep\0{SECONDS}\0" in (process / "cmdline").read_text():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so, for a minute at most."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, sleepers()
        time.sleep(0.02)
