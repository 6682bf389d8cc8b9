"""A lock that saves double work and nothing else: without it everything is still right, only slower."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sifmake.progress import Progress

LONGEST_PAUSE = 0.5
SAY_AFTER = 2.0


class _Attempt:
    """Asks for the lock from a thread of its own, because a file server that is gone holds even a question for ever."""

    def __init__(self, path: Path, timeout: float) -> None:
        self.held = False
        self.trouble = ""
        self.done = threading.Event()
        self._path = path
        self._deadline = time.monotonic() + timeout
        self._given_up = False
        self._fd = -1
        self._mutex = threading.Lock()
        try:
            threading.Thread(target=self._run, daemon=True, name="store-lock").start()
        except RuntimeError:  # the system allows no further thread
            self._run()

    def _run(self) -> None:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                self._ask(fd)
            finally:
                self._keep_or_close(fd)
        except OSError as error:
            self.trouble = error.strerror or str(error)
        self.done.set()

    def _ask(self, fd: int) -> None:
        pause = 0.005
        while not self.held:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.held = True
            except BlockingIOError:
                if self._given_up or time.monotonic() > self._deadline:
                    self.trouble = "another process holds it"
                    return
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _keep_or_close(self, fd: int) -> None:
        with self._mutex:
            if self.held and not self._given_up:
                self._fd = fd
                os.utime(fd)
                return
        self.held = False
        os.close(fd)

    def release(self) -> None:
        with self._mutex:
            self._given_up = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


@contextmanager
def hold(path: Path, timeout: float, progress: Progress) -> Iterator[bool]:
    """Hold a lock on a file while the block runs; go on without it, with a warning, when it cannot be had.

    Args:
        path: The lock file; it stays there, its content means nothing.
        timeout: Seconds after which to go on without the lock.
        progress: Told when waiting takes long and when it was in vain.

    Yields:
        Whether the lock is held.
    """
    attempt = _Attempt(path, timeout)
    try:
        if not attempt.done.wait(min(SAY_AFTER, timeout)):
            progress.info(f"waiting for another process that works on the same ({path.name})")
            # A little more than the attempt itself waits: only a file server that hangs reaches it.
            attempt.done.wait(timeout + 1)
        if not attempt.held:
            why = attempt.trouble or "the file system does not answer"
            progress.warning(f"no lock in the store ({path}: {why}); going on, the work may be done twice")
        yield attempt.held
    finally:
        attempt.release()
