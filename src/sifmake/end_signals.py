"""SIGTERM and SIGHUP end a command as SIGINT does: what it has begun is removed, and it says so in one line.

Only programs use this: the command line, doit's tasks and the stage helper. The library leaves signals alone.
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
    """A signal asks the process to end.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        """Return what to tell the user."""
        return f"ended by {signal.Signals(self.number).name}"


@contextmanager
def interrupting() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise a KeyboardInterrupt while a block runs, unless somebody else sees to them.

    A SIGHUP that is ignored, as ``nohup`` has it, stays so. In a thread other than the main one nothing is changed.
    """
    yield from _handling(_ENDING, _Ended)


@contextmanager
def leaving(tell: Callable[[str], object]) -> Iterator[None]:
    """Let SIGINT, too, end the process by SystemExit while a block runs, for programs that show a traceback else.

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
        # Batch systems and terminals ask more than once; the first is being answered. Only Ctrl-C cuts that short.
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
