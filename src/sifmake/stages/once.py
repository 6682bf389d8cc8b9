"""One answer per question in a run, so that all images see the same digest even if a tag moves during the run."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Answers:
    """The answers of sources in this run; several threads may use it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._told: dict[str, dict[str, Any]] = {}

    @contextmanager
    def turn(self, question: str) -> Iterator[dict[str, Any]]:
        """Give one thread at a time the answers to a question, to read and to add to."""
        with self._guard:
            turn = self._turns.setdefault(question, threading.Lock())
            told = self._told.setdefault(question, {})
        with turn:
            yield told
