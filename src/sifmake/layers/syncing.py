"""Sync a file to disk while it still grows, without losing an error."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future

    from sifmake.layers.blocks import Workers


class BackgroundSync:
    """Starts syncs of one file now and then; the last fsync finds little to do.

    Linux reports a failed write-back once for each open file, to whichever sync comes first: the last fsync knows
    nothing of an error that a background one got. So every result is checked, here or in :meth:`wait`, and a file is
    finished only after :meth:`wait` returned.
    """

    def __init__(self, workers: Workers, every: int) -> None:
        """Begin.

        Args:
            workers: Have the thread that syncs.
            every: Written bytes after which a sync is started.
        """
        self._workers = workers
        self._every = every
        self._unsynced = 0
        self._pending: deque[Future[None]] = deque()

    def is_due(self, written: int) -> bool:
        """Count bytes that were written; return whether a sync should be started.

        Raises:
            OSError: An earlier sync failed.
        """
        self._unsynced += written
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()
        return self._unsynced >= self._every and not self._pending

    def start(self, fd: int) -> None:
        """Sync an open file in the background."""
        self._unsynced = 0
        self._pending.append(self._workers.sync_soon(fd))

    def wait(self) -> None:
        """Wait for all syncs that were started.

        Raises:
            OSError: One of them failed, so the content of the file is lost.
        """
        while self._pending:
            self._pending.popleft().result()
