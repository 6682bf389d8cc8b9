"""SIGTERM and SIGHUP end a command as SIGINT does: unfinished files are removed, and one line says why it ended.

Only programs use this: the command line, doit's tasks and the stage helper. The library does not touch signals.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    yield from _handling(_ENDING, _Ended)


@contextmanager
def leaving(tell: Callable[[str], object]) -> Iterator[None]:
    """Make SIGINT, too, end the process by SystemExit while a block runs, for programs that would show a traceback.

    Args:
        tell: Prints a line.
    """

    def left(number: int) -> BaseException:
        tell("interrupted" if number == signal.SIGINT else str(_Ended(number)))
        return SystemExit(128 + number)

    yield from _handling((signal.SIGINT, *_ENDING), left)


def _handling(numbers: tuple[signal.Signals, ...], error: Callable[[int], BaseException]) -> Iterator[None]:
    mine: list[signal.Signals] = []

    def handle(number: int, _frame: object) -> None:
        # Batch systems and terminals may signal again while we clean up after the first signal. Only Ctrl-C cuts that
        # short.
        for one in mine:
            signal.signal(one, signal.default_int_handler if one == signal.SIGINT else signal.SIG_IGN)
        raise error(number)

    before = {}
    try:
        for number in numbers:
            if signal.getsignal(number) in _USUAL:
                before[number] = signal.signal(number, handle)
                mine.append(number)
    except ValueError:  # not in the main thread
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
