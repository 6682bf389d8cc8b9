"""The process between ``sifmake`` and the program, which cleans up when either ends.

``sifmake`` itself only waits and passes signals on. It sends them as real-time signals, which no other process sends
and which cannot be confused with the signals that a terminal sends to all processes.
"""

from __future__ import annotations

import os
import time

from sifmake.runtime import system
from sifmake.runtime.children import QUIETED, children_of, end_all, reap, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from sifmake.runtime.supervisor import Run
else:
    import _signal as signal  # without the enums of the module signal, whose import costs 5 ms

_ORPHANED = signal.SIGRTMIN
"""The signal that the kernel sends when ``sifmake`` has ended."""
_PASSED = {number: signal.SIGRTMIN + number for number in QUIETED}
"""The signals that ``sifmake`` passes on, and the real-time signals that stand for them."""
_AWAITED = {signal.SIGCHLD, _ORPHANED, *_PASSED.values()}
_LOOK_SECONDS = 1.0


class Keeper:
    """One run of a program, until all its processes have ended."""

    def __init__(self, run: Run) -> None:
        self.wanted = run
        self.tree = run.tree

    def run(self) -> int:
        """Run the program and return its exit status. Raises RunError if it cannot be started."""
        system.set_parent_death_signal(_ORPHANED)
        from sifmake.runtime.launch import Launch, command_id  # imported while squashfuse starts

        try:
            if os.getppid() != self.wanted.parent:  # the parent ended before this was set up
                return 128 + signal.SIGKILL
            self.tree.settle()
            launch = Launch(self.wanted.request, self.tree)
            monitor, information = launch.start(self.wanted.bwrap, ignored=self.wanted.ignored)
            return self.watch(monitor, command_id(information))
        finally:
            self.clean()

    def watch(self, monitor: int, command: int) -> int:
        """Wait until the program ends, pass signals on, and end it if ``sifmake`` has ended."""
        while os.getppid() == self.wanted.parent:
            status = self.ended(monitor, command)
            if status is not None:
                return status
            got = signal.sigtimedwait(_AWAITED, _LOOK_SECONDS)
            if got and got.si_signo in _PASSED.values() and command:
                send(self.program(command), got.si_signo - signal.SIGRTMIN)
        return 128 + signal.SIGKILL

    def program(self, command: int) -> int:
        """Return the process to which signals go; if bwrap is the first process of the namespace, its child.

        The first process of a namespace ignores every signal that it does not handle.
        """
        request = self.wanted.request
        if not request.pid or request.no_init:
            return command
        until = time.monotonic() + _LOOK_SECONDS
        while not (children := children_of(command)) and _alive(command) and time.monotonic() < until:
            time.sleep(0.002)
        return children[0] if children else command

    def ended(self, monitor: int, command: int) -> int | None:
        """Return the program's exit status if it has ended.

        A signal from the terminal ends bwrap, and its child becomes ours; then the child's status is the result.
        """
        statuses = reap()
        if command in statuses:
            return statuses[command]
        if monitor in statuses and not _alive(command):
            return statuses[monitor]
        return None

    def clean(self) -> None:
        """End all remaining processes, then the mount of the image."""
        end_all(self.tree.helpers())
        if os.getppid() == self.wanted.parent:
            self.tree.dismiss()
        else:
            self.tree.inherit()
        self.tree.end()


def _alive(pid: int) -> bool:
    """Whether a process exists, even if it has ended and its status was not collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def prepare_signals() -> None:
    """Ignore the signals that a terminal sends to all processes, and block the others to wait for them."""
    for number in QUIETED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, _AWAITED)
