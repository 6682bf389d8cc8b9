"""One answer for one question in a run: a tag that moves while many images are locked means the same to all of them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Answers:
    """What sources have answered in this run; may be used by several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._told: dict[str, dict[str, Any]] = {}

    @contextmanager
    def turn(self, question: str) -> Iterator[dict[str, Any]]:
        """Give what is known of a question to one thread at a time, to look into and to add to."""
        with self._guard:
            turn = self._turns.setdefault(question, threading.Lock())
            told = self._told.setdefault(question, {})
        with turn:
            yield told
