"""Threads that are optional: if the system allows no more threads (on a login node), the caller does the work."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from sifmake.memory import most_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
_SIGNAL_SECONDS = 0.2
"""How long a signal may go unnoticed."""


class Threads(ThreadPoolExecutor):
    """A thread pool that does its work even if no thread can be started."""

    def __init__(self, threads: int, thread_name_prefix: str = "", stop: Callable[[], object] | None = None) -> None:
        """Start no thread yet.

        Args:
            threads: Most threads; fewer where the memory of this process is limited.
            thread_name_prefix: Of their names.
            stop: Makes long work end early; called if an interrupt comes while the end of a block waits for it.
        """
        self._stop_work = stop
        self._unfinished: set[Future[Any]] = set()
        most = most_threads()
        self._alone = most == 0
        super().__init__(threads if most is None else max(1, min(threads, most)), thread_name_prefix)

    def __exit__(self, *_: object) -> None:
        """Wait for the work, after an interrupt too: it removes what it has begun, and uses files of the caller."""
        try:
            self.shutdown(wait=True)
        except BaseException:
            if self._stop_work is not None:
                self._stop_work()
            self.shutdown(wait=False, cancel_futures=True)
            wait(list(self._unfinished))  # not for the threads: after an interrupt, Python takes them for ended
            raise

    def submit(self, work: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        """Run ``work`` on a thread, or at once on the caller's thread if no other can be started."""
        future: Future[T] = Future()
        mine = Lock()

        def run() -> None:
            # The pool keeps work for which it could not start a thread; an existing thread will find it done.
            if not mine.acquire(blocking=False) or not future.set_running_or_notify_cancel():
                return
            try:
                result = work(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  # raised where the result is used
                future.set_exception(error)
            else:
                future.set_result(result)

        if self._alone:
            run()
            return future
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        try:
            queued = super().submit(run)
        except (RuntimeError, MemoryError):
            run()
        else:
            queued.add_done_callback(lambda done: _pass_on(done, future))
        return future


def as_they_end(futures: Iterable[Future[T]]) -> Iterator[Future[T]]:
    """Yield futures as they end, and notice signals meanwhile.

    A signal that comes after Python has last looked for one, and before it waits for a lock, does not end the wait. A
    thread that just gives up the interpreter to others can be at that place for milliseconds, so each wait is short.
    """
    left = set(futures)
    while left:
        ended, left = wait(left, _SIGNAL_SECONDS, FIRST_COMPLETED)
        yield from ended


def _pass_on(done: Future[None], future: Future[T]) -> None:
    """End a future whose work was cancelled or could not report its failure, because another thread may wait for it."""
    if done.cancelled():
        future.cancel()
    elif not future.done() and (error := done.exception()) is not None:
        future.set_exception(error)
