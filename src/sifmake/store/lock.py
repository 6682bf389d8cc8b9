"""A lock that only avoids duplicate work; without it, results are still correct."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sifmake.errors import StoreError
from sifmake.memory import most_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.progress import Progress
    from sifmake.store.folder import Folder

_LONGEST_PAUSE = 0.5
SAY_AFTER = 2.0


class _Attempt:
    """Requests the lock in a separate thread, because a dead file server blocks even a request for ever."""

    def __init__(self, folder: Folder, name: str, timeout: float) -> None:
        self.held = False
        self.trouble = ""
        self.failure: MemoryError | None = None
        self.done = threading.Event()
        # A descriptor of its own, because the thread may be the last one that needs it.
        self._folder = folder
        self._name = name
        self._deadline = time.monotonic() + timeout
        self._given_up = False
        self._fd = -1
        self._mutex = threading.Lock()
        if most_threads() == 0:
            self._run()
            return
        try:
            threading.Thread(target=self._run, daemon=True, name="store-lock").start()
        except RuntimeError:  # the system allows no more threads
            self._run()

    def _run(self) -> None:
        try:
            while True:
                fd = self._folder.open_mark(self._name)
                try:
                    self._ask(fd)
                finally:
                    removed = self.held and not os.fstat(fd).st_nlink
                    self.held = self.held and not removed
                    self._keep_or_close(fd)
                if not removed:
                    break  # if not, another process removed the file as old, and the next one would create a new one
        except StoreError as error:
            self.trouble = error.what
        except OSError as error:
            self.trouble = error.strerror or str(error)
        except MemoryError as error:
            self.failure = error
        finally:
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
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _keep_or_close(self, fd: int) -> None:
        with self._mutex:
            if self.held and not self._given_up:
                self._fd = fd
                with suppress(PermissionError):  # a file of another user, whose content and age do not matter
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
def hold(folder: Folder, name: str, timeout: float, progress: Progress) -> Iterator[bool]:
    """Hold a lock on a file while the block runs; if it is not available, warn and continue without it.

    Args:
        folder: The folder of lock files.
        name: The lock file; it is not removed, and has no content.
        timeout: Seconds after which to continue without the lock.
        progress: Gets a message if waiting takes long, and a warning if it fails.

    Yields:
        Whether the lock is held.

    Raises:
        MemoryError: There was not enough to ask for it.
    """
    attempt = _Attempt(folder, name, timeout)
    try:
        if not attempt.done.wait(min(SAY_AFTER, timeout)):
            progress.info(f"waiting for another process that does the same work ({name})")
            # A little longer than the attempt itself waits, so that only a hanging file server exceeds it.
            attempt.done.wait(timeout + 1)
        if attempt.failure is not None:
            raise attempt.failure
        if not attempt.held:
            why = attempt.trouble or "the file system does not answer"
            progress.warning(
                f"no lock in the store ({folder.path / name}: {why}); continuing without it, so work may be done twice"
            )
        yield attempt.held
    finally:
        attempt.release()
