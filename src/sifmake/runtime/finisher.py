"""A process that finishes an image in the store while a program of the image already runs.

It has a session of its own, so that signals of the terminal reach the program only, and it ends with ``sifmake``.
"""

from __future__ import annotations

import os
import threading

from sifmake.errors import SifmakeError, describe_os_error
from sifmake.runtime import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal  # without the enums of the module signal, whose import costs 5 ms

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_TOLD_BYTES = 1 << 16
_LOOK_SECONDS = 0.5


class Finisher:
    """At most one process.

    Attributes:
        pid: Its id; 0 if there is none.
    """

    def __init__(self, warn: Callable[[str], object]) -> None:
        """Start nothing yet.

        Args:
            warn: Gets the warning if the work fails. It is called in the other process, whose standard error is what
                :meth:`wait` returns.
        """
        self.pid = 0
        self._warn = warn
        self._told = -1

    def start(self, work: Callable[[], None]) -> bool:
        """Start work in a process of its own; False if that is not possible, so the caller has to do it."""
        if threading.active_count() > 1:  # a process that is forked has one thread, and locks that others held
            return False
        told, end = os.pipe()
        parent = os.getpid()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(told)
            os.close(end)
            return False
        if not self.pid:
            self._work(work, parent, end)
        os.close(end)
        self._told = told
        return True

    def _work(self, work: Callable[[], None], parent: int, told: int) -> None:
        """Do the work in the new process; does not return."""
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            null = os.open(os.devnull, os.O_RDWR)
            for standard, file in enumerate((null, null, told)):
                os.dup2(file, standard)
            system.set_parent_death_signal(signal.SIGTERM)
            if os.getppid() == parent:
                work()
        except SifmakeError as error:
            self._tell(str(error))
        except OSError as error:
            self._tell(describe_os_error(error))
        finally:
            os._exit(0)

    def _tell(self, why: str) -> None:
        self._warn(f"the store does not keep the image, so it will be built again: {why}")

    def wait(self) -> str:
        """Wait until the process ends; return the warnings that it wrote.

        The first signal that would end this process ends the other one, which then removes what it has not finished.
        At a second signal this process waits no longer.
        """
        if not self.pid:
            return ""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOPPING, signal.SIGCHLD})
        number = signal.SIGTERM
        while not self._has_ended():
            # For a while only, because the end of a child gives no signal if the caller ignores SIGCHLD.
            got = signal.sigtimedwait({*_STOPPING, signal.SIGCHLD}, _LOOK_SECONDS)
            if got and got.si_signo != signal.SIGCHLD:
                os.kill(self.pid, number)
                if number == signal.SIGKILL:
                    break
                number = signal.SIGKILL
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._read()

    def _has_ended(self) -> bool:
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # its status was collected with those of the program
            return True

    def _read(self) -> str:
        os.set_blocking(self._told, False)
        try:
            return os.read(self._told, _TOLD_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            return ""
        finally:
            os.close(self._told)
