"""Messages and progress on the terminal: a bar per blob on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TextIO

from sifmake.cli.asking import terminal
from sifmake.cli.head_words import SILENT
from sifmake.errors import one_line
from sifmake.printing import terminal_width, write_note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BAR_WIDTH = 24
_LONGEST_LIST = 10
"""Bars shown at the same time; further tasks run without one."""
REDRAW_SECONDS = 0.1


class Console:
    """A :class:`~sifmake.progress.Progress` that writes to standard error.

    The cursor always rests at the start of the line below the bars, so an interrupted run leaves the terminal usable.

    Attributes:
        quiet: 1 or True shows only warnings and errors; 2 or more only errors.
    """

    def __init__(self, *, quiet: int = False, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self._stream = stream
        self._mutex = threading.Lock()
        self._running: list[ConsoleTask] = []
        self._drawn = 0
        self._last = 0.0

    @property
    def ask(self) -> Callable[[str], str] | None:
        """A function that asks for a passphrase; None if standard input is not a terminal."""
        return terminal()

    def info(self, message: str) -> None:
        """Print a line above the bars."""
        if not self.quiet:
            self._print(message)

    def warning(self, message: str) -> None:
        """Print a warning above the bars."""
        if self.quiet < SILENT:
            self._print(f"sifmake: warning: {message}")

    def error(self, message: str) -> None:
        """Print what failed above the bars."""
        from sifmake.cli.stand_in import error_prefix

        self._print(f"{error_prefix()}{message}")

    def task(self, label: str, total: int | None = None) -> ConsoleTask:
        """Start a bar."""
        task = ConsoleTask(self, one_line(label), total)
        with self._mutex:
            self._running.append(task)
        self.redraw()
        return task

    def end(self, task: ConsoleTask, line: str) -> None:
        """Replace a bar with its last line."""
        with self._mutex:
            if task in self._running:
                self._running.remove(task)
        if not self.quiet:
            self._print(line)

    def redraw(self) -> None:
        """Redraw the bars, unless they were drawn a moment ago."""
        now = time.monotonic()
        if self.quiet or now - self._last < REDRAW_SECONDS or not self._mutex.acquire(blocking=False):
            return
        try:
            if self._is_live():
                self._last = now
                self._write([])
        finally:
            self._mutex.release()

    def close(self) -> None:
        """Remove the bars of unfinished tasks from the screen."""
        with self._mutex:
            self._running.clear()
            if self._drawn:
                self._write([])

    def _print(self, line: str) -> None:
        with self._mutex:
            self._write([line])

    def _write(self, lines: list[str]) -> None:
        """Write all lines in one call, so that an interrupt cannot fall between them."""
        stream = self._stream if self._stream is not None else sys.stderr
        text = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        text += "".join(f"{one_line(line)}\n" for line in lines)
        width = terminal_width() - 1
        bars = [task.bar()[:width] for task in self._running[:_LONGEST_LIST]] if self._is_live() else []
        self._drawn = len(bars)
        write_note(stream, text + "".join(f"{bar}\n" for bar in bars))

    def _is_live(self) -> bool:
        """Whether to draw bars; the workers of ``doit -n`` print lines, because processes cannot share the bars."""
        stream = self._stream if self._stream is not None else sys.stderr
        return not self.quiet and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not _is_helper()


class ConsoleTask:
    """One bar."""

    def __init__(self, console: Console, label: str, total: int | None) -> None:
        self._console = console
        self._label = label
        self._total = total
        self._done = 0
        self._started = time.monotonic()

    def advance(self, amount: int) -> None:
        """Move the bar."""
        self._done += amount
        self._console.redraw()

    def finish(self, note: str = "") -> None:
        """Replace the bar with a line that says how the task ended."""
        seconds = time.monotonic() - self._started
        size = self._total if self._total is not None else self._done
        self._console.end(self, f"{self._label}  {note or f'done, {human_size(size)} in {seconds:.1f} s'}")

    def bar(self) -> str:
        """Return the line that shows the present state."""
        if not self._total:
            return f"{self._label}  {human_size(self._done)}"
        part = min(self._done / self._total, 1.0)
        filled = int(part * _BAR_WIDTH)
        bar = "=" * filled + (">" if filled < _BAR_WIDTH else "")
        return f"{self._label}  [{bar:<{_BAR_WIDTH}}] {part:4.0%}  {human_size(self._done)} / {human_size(self._total)}"


def _is_helper() -> bool:
    """Whether ``multiprocessing`` started this process, found out without importing it."""
    module = sys.modules.get("multiprocessing")
    return module is not None and module.parent_process() is not None


def human_size(size: int) -> str:
    """Return a size in bytes as text in binary units, for example ``3.2 MiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError(size)
