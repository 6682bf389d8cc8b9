"""How long work reports on itself, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Task(Protocol):
    """One piece of work with a known or unknown size, for example one layer."""

    def advance(self, amount: int) -> None:
        """Say that ``amount`` more bytes (or items) are done."""

    def finish(self, note: str = "") -> None:
        """Say that the work is done; ``note`` replaces the bar's figures ("in store")."""


class Progress(Protocol):
    """Where messages and tasks of a command go.

    One that also has a member ``ask``, a function of a question, lets it ask for passphrases; without, one that is
    missing is an error.
    """

    def info(self, message: str) -> None:
        """Tell what is being done."""

    def warning(self, message: str) -> None:
        """Tell what the user should know though the work goes on."""

    def task(self, label: str, total: int | None = None) -> Task:
        """Begin a piece of work of ``total`` bytes."""


class _SilentTask:
    def advance(self, amount: int) -> None:
        pass

    def finish(self, note: str = "") -> None:
        pass


class Silent:
    """A progress that keeps quiet; also the base of those that speak of some things only."""

    def info(self, message: str) -> None:
        """Ignore the message."""

    def warning(self, message: str) -> None:
        """Ignore the message."""

    def task(self, label: str, total: int | None = None) -> Task:  # noqa: ARG002
        """Return a task that reports nothing."""
        return _SilentTask()
