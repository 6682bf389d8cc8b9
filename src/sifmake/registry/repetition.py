"""When a request is made again, and when there were tries enough."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from sifmake.errors import RegistryError
from sifmake.registry.error_responses import error_from_response
from sifmake.registry.failure import TransportError
from sifmake.registry.retry import pause_before, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sifmake.progress import Progress
    from sifmake.registry.settings import RetryPolicy
    from sifmake.registry.transport import Response

_SERVER_FAULT_ATTEMPTS = 3
"""Tries of a request that the registry answers with 500: most often a fault that stays."""


class Repetition:
    """Repeats requests to one host; may be used by several threads."""

    def __init__(self, host: str, policy: RetryPolicy, progress: Progress) -> None:
        """Begin with a host that has not answered yet.

        Args:
            host: ``host[:port]``, for messages.
            policy: When to send again.
            progress: Told of pauses.
        """
        self._host = host
        self._policy = policy
        self._progress = progress
        self._reached = False
        self._closed = threading.Event()
        self._trouble = ""

    def answered(self) -> None:
        """Note that the host is there: it is worth more tries."""
        self._reached, self._trouble = True, ""

    def pause(self, attempt: int, seconds: float | None = None) -> None:
        """Wait before try number ``attempt``.

        Raises:
            RegistryError: All was closed meanwhile.
        """
        if self._closed.wait(pause_before(attempt, self._policy) if seconds is None else seconds):
            raise RegistryError("the transfer was given up", where=self._host)

    def close(self) -> None:
        """End all pauses."""
        self._closed.set()

    def with_retries(self, attempt_once: Callable[[], Response], retried: Collection[int]) -> Response:
        """Do something until it ends with an answer that no repetition would change; the caller closes it.

        Args:
            attempt_once: Sends and returns the answer.
            retried: Statuses that may be gone next time.

        Raises:
            RegistryError: There is no such answer.
        """
        attempt = 0
        while True:
            attempt += 1
            seconds = patience = None
            try:
                response = attempt_once()
                if response.status not in retried:
                    return response
                seconds = retry_after(response.headers.get("Retry-After", ""))
                patience = _SERVER_FAULT_ATTEMPTS if response.status == 500 else None
                error: RegistryError = error_from_response(response, self._host)
                response.close()
            except TransportError as failure:
                if not failure.may_recover:
                    raise
                error = failure
            self._check_patience(attempt, patience, seconds, error)
            self._announce(attempt, seconds, error)
            self.pause(attempt + 1, seconds)

    def _check_patience(self, attempt: int, patience: int | None, seconds: float | None, error: RegistryError) -> None:
        """Raise the error when there were tries enough, or the registry wants more time than there is."""
        policy = self._policy
        most = policy.attempts if self._reached else policy.first_attempts
        if attempt >= min(most, patience or most):
            raise error
        if seconds is not None and seconds > policy.longest_wait:
            error.hint = f"the registry asks to come back in {timedelta(seconds=round(seconds))}"
            raise error

    def _announce(self, attempt: int, seconds: float | None, error: RegistryError) -> None:
        if attempt > 1 or (seconds or 0) > 2:
            wait = f" in {seconds:.0f} s" if seconds else ""
            text = f"{self._host}: {error.what}; trying again{wait}"
            if text != self._trouble:  # all transfers meet it, again and again
                self._progress.warning(text)
            self._trouble = text
