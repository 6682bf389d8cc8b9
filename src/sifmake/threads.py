"""Threads that help where the system gives them: on a login node that allows no more, the caller does the work."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """A pool whose work gets done even if not one thread can be started."""

    def submit(self, work: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        """Run ``work`` on a thread, or at once on the caller's where no thread can be had."""
        future: Future[T] = Future()
        mine = Lock()

        def run() -> None:
            # The pool keeps what it could not start a thread for; a thread that it has already finds it done then.
            if not mine.acquire(blocking=False) or not future.set_running_or_notify_cancel():
                return
            try:
                result = work(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  # carried to where the result is asked for
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
