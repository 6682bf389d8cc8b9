"""Threads that are optional: if the system allows no more threads (on a login node), the caller does the work."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """A thread pool that does its work even if no thread can be started."""

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

        try:
            queued = super().submit(run)
        except RuntimeError:
            run()
        else:
            queued.add_done_callback(lambda done: done.cancelled() and future.cancel())
        return future
