"""Decide when a request is repeated, and when to give up."""

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
"""Attempts for a request that the registry answers with 500, which is usually a permanent fault."""


class Repetition:
    """Repeats requests to one host; several threads may use it."""

    def __init__(self, host: str, policy: RetryPolicy, progress: Progress) -> None:
        """Start with a host that has not answered yet.

        Args:
            host: ``host[:port]``, for messages.
            policy: When to send again.
            progress: Receives messages about pauses.
        """
        self._host = host
        self._policy = policy
        self._progress = progress
        self._reached = False
        self._closed = threading.Event()
        self._trouble = ""

    def answered(self) -> None:
        """Note that the host has answered, so more attempts make sense."""
        self._reached, self._trouble = True, ""

    def pause(self, attempt: int, seconds: float | None = None) -> None:
        """Wait before an attempt.

        Raises:
            RegistryError: The connections were closed meanwhile.
        """
        if self._closed.wait(pause_before(attempt, self._policy) if seconds is None else seconds):
            raise RegistryError("the transfer was cancelled", where=self._host)

    def close(self) -> None:
        """End all pauses."""
        self._closed.set()

    def with_retries(self, attempt_once: Callable[[], Response], retried: Collection[int]) -> Response:
        """Repeat an attempt until there is a final answer; the caller closes it.

        Args:
            attempt_once: Sends a request and returns the answer.
            retried: Statuses that may be temporary.

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
        """Raise the error after enough attempts, or if the registry asks for too long a wait."""
        policy = self._policy
        most = policy.attempts if self._reached else policy.first_attempts
        if attempt >= min(most, patience or most):
            raise error
        if seconds is not None and seconds > policy.longest_wait:
            error.hint = f"try again in {timedelta(seconds=round(seconds))}, as the registry asks"
            raise error

    def _announce(self, attempt: int, seconds: float | None, error: RegistryError) -> None:
        if attempt > 1 or (seconds or 0) > 2:
            wait = f" in {seconds:.0f} s" if seconds else ""
            text = f"{self._host}: {error.what}; trying again{wait}"
            if text != self._trouble:  # all transfers have the same problem
                self._progress.warning(text)
            self._trouble = text
