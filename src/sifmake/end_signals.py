"""SIGTERM and SIGHUP end a command as SIGINT does: unfinished files are removed, and one line says why it ended.

Only programs use this: the command line, doit's tasks and the stage helper. The library does not touch signals.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_Handler: TypeAlias = "Callable[[int, FrameType | None], Any] | int | signal.Handlers | None"

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_USUAL = (signal.SIG_DFL, signal.default_int_handler)


class _Ended(KeyboardInterrupt):
    """A signal asked the process to end.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        """Return the message for the user."""
        return f"ended by {signal.Signals(self.number).name}"


@contextmanager
def interrupting() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise a KeyboardInterrupt while a block runs, unless another handler is installed.

    If SIGHUP is ignored, as under ``nohup``, it stays ignored. Threads other than the main one change nothing.
    """
    before = _handle(_ENDING, _Ended)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_on_signals(tell: Callable[[str], object]) -> None:
    """Make SIGINT, too, end the process by SystemExit from now on, for programs that would show a traceback.

    Args:
        tell: Prints a line.
    """

    def left(number: int) -> BaseException:
        tell("interrupted" if number == signal.SIGINT else str(_Ended(number)))
        return SystemExit(128 + number)

    _handle((signal.SIGINT, *_ENDING), left)


def _handle(
    numbers: tuple[signal.Signals, ...], error: Callable[[int], BaseException]
) -> dict[signal.Signals, _Handler]:
    """Make signals raise an error unless another handler is installed; return the handlers that were there."""
    before: dict[signal.Signals, _Handler] = {}

    def handle(number: int, _frame: object) -> None:
        # Batch systems and terminals may signal again while we clean up after the first signal. Only Ctrl-C cuts that
        # short.
        for one in before:
            signal.signal(one, signal.default_int_handler if one == signal.SIGINT else signal.SIG_IGN)
        raise error(number)

    with suppress(ValueError):  # not in the main thread
        for number in numbers:
            if signal.getsignal(number) in _USUAL:
                before[number] = signal.signal(number, handle)
    return before
