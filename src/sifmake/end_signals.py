"""SIGTERM and SIGHUP end a command as SIGINT does: unfinished files are removed, and one line says why it ended.

Only programs use this: the command line, doit's tasks and the stage helper. The library does not touch signals.

The error of a signal is not raised where code cannot pass it on. While a module is imported, its C code may lose the
error and go on half initialised (msgspec does, and then reads through a null pointer). While a pool starts a thread, an
error makes it forget the thread, so that nobody waits until its files are removed. While :mod:`contextlib` passes from
a generator to the block of a ``with`` statement, neither would clean up. While ``__del__`` runs, Python prints the
error and goes on. The signal is checked again a moment later.
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
_IMPORTS = "<frozen importlib."
"""Prefix of the file names of Python's import machinery."""
_STARTS_THREADS = "ThreadPoolExecutor.submit"
_CONTEXTS = contextmanager.__code__.co_filename
_MOMENT = 0.005
"""Seconds until a delayed signal is checked again."""


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
    """Make SIGINT, SIGTERM and SIGHUP raise a KeyboardInterrupt while a block runs, unless they have other handlers.

    If SIGHUP is ignored, as under ``nohup``, it stays ignored. Threads other than the main one change nothing.
    """
    handlers = _Handlers(lambda number: KeyboardInterrupt() if number == signal.SIGINT else _Ended(number))
    try:
        yield
    finally:
        handlers.remove()


def leave_on_signals(tell: Callable[[str], object]) -> None:
    """Make SIGINT, SIGTERM and SIGHUP end the process by SystemExit from now on, for programs that show tracebacks.

    Args:
        tell: Prints a line.
    """

    def left(number: int) -> BaseException:
        tell("interrupted" if number == signal.SIGINT else str(_Ended(number)))
        return SystemExit(128 + number)

    _Handlers(left)


class _Handlers:
    """Handlers that raise an error at the first signal, at once or a moment later."""

    def __init__(self, error: Callable[[int], BaseException]) -> None:
        """Install them where no other handler is installed.

        Args:
            error: Returns the error for a signal.
        """
        self._error = error
        self._waiting: int | None = None
        self._before: dict[signal.Signals, _Handler] = {}
        self._may_wait = False
        with suppress(ValueError):  # not in the main thread
            for number in (signal.SIGINT, *_ENDING):
                if signal.getsignal(number) in _USUAL:
                    self._before[number] = signal.signal(number, self._handle)
            self._may_wait = bool(self._before) and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
            if self._may_wait:
                signal.signal(signal.SIGALRM, self._handle)

    def remove(self) -> None:
        """Install the handlers that were there before, and raise the error of a signal that still waits."""
        if self._may_wait:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._waiting is not None:
            raise self._error(self._waiting)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGALRM:
            if self._waiting is None:
                return
            number = self._waiting
        if self._may_wait and _must_wait(frame):
            self._waiting = number
            signal.setitimer(signal.ITIMER_REAL, _MOMENT)
            return
        self._waiting = None
        # Batch systems and terminals may signal again while we clean up after the first signal. Only Ctrl-C cuts that
        # short.
        for one in self._before:
            signal.signal(one, signal.default_int_handler if one == signal.SIGINT else signal.SIG_IGN)
        raise self._error(number)


def _must_wait(frame: FrameType | None) -> bool:
    """Tell whether an error must not be raised in this frame, because a caller would lose it."""
    if frame is not None and frame.f_code.co_filename == _CONTEXTS:
        return True
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_IMPORTS) or code.co_qualname == _STARTS_THREADS or code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
