"""Stopping threads that report progress, because an interrupt must not wait until downloads end."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from sifmake.errors import SifmakeError
from sifmake.progress import tell_failure

if TYPE_CHECKING:
    from sifmake.progress import Progress, Task


class CancelledError(SifmakeError):
    """The run was interrupted while a thread was at work."""


class CancellableProgress:
    """A progress whose tasks raise an error at their next advance after it was stopped."""

    def __init__(self, progress: Progress) -> None:
        self.info = progress.info
        self.warning = progress.warning
        self.error = partial(tell_failure, progress)
        self._progress = progress
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Make all tasks end."""
        self._stopped.set()

    def task(self, label: str, total: int | None = None) -> Task:
        """Start a task that can be stopped."""
        return _StoppableTask(self._progress.task(label, total), self._stopped)


class _StoppableTask:
    def __init__(self, task: Task, stopped: threading.Event) -> None:
        self._task = task
        self._stopped = stopped

    def advance(self, amount: int) -> None:
        if self._stopped.is_set():
            raise CancelledError("interrupted")
        self._task.advance(amount)

    def finish(self, note: str = "") -> None:
        self._task.finish(note)
