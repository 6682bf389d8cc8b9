"""The protocol through which long operations report progress, whoever receives it."""

from __future__ import annotations

from typing import Protocol


class Task(Protocol):
    """One piece of work with a known or unknown size, for example one layer."""

    def advance(self, amount: int) -> None:
        """Report that ``amount`` more bytes (or items) are done."""

    def finish(self, note: str = "") -> None:
        """Report that the work is done; ``note``, such as "in store", replaces the bar's figures."""


class Progress(Protocol):
    """Receives the messages and tasks of a command.

    It may also have a member ``ask``: a function that takes a question and returns a passphrase. Without it, a missing
    passphrase is an error. And it may have a member ``error``: a function that takes a message about one part of the
    work that failed, while the others go on. Without it, ``warning`` gets these messages.
    """

    def info(self, message: str) -> None:
        """Report what is being done."""

    def warning(self, message: str) -> None:
        """Report a problem that does not stop the work."""

    def task(self, label: str, total: int | None = None) -> Task:
        """Start a piece of work of ``total`` bytes."""


def tell_failure(progress: Progress, message: str) -> None:
    """Report that a part of the work failed, while the others go on."""
    getattr(progress, "error", progress.warning)(message)


class _SilentTask:
    def advance(self, amount: int) -> None:
        pass

    def finish(self, note: str = "") -> None:
        pass


class Silent:
    """A progress that reports nothing; also a base class for those that report only some things."""

    def info(self, message: str) -> None:
        """Ignore the message."""

    def warning(self, message: str) -> None:
        """Ignore the message."""

    def task(self, label: str, total: int | None = None) -> Task:  # noqa: ARG002
        """Return a task that reports nothing."""
        return _SilentTask()
