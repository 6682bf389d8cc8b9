"""The process between ``sifmake`` and the program, which ends everything when either is gone.

``sifmake`` itself only waits and passes signals on. They come as real-time signals, which nobody else sends and which
do not get lost among those that a terminal sends to everyone.
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
"""Comes when ``sifmake`` has gone."""
_PASSED = {number: signal.SIGRTMIN + number for number in QUIETED}
"""The signals that ``sifmake`` passes on, and as what."""
_AWAITED = {signal.SIGCHLD, _ORPHANED, *_PASSED.values()}
_LOOK_SECONDS = 1.0


class Keeper:
    """One run of a program, until every process of it has gone."""

    def __init__(self, run: Run) -> None:
        self.wanted = run
        self.tree = run.tree

    def run(self) -> int:
        """Run the program and return its exit status. Raises RunError if it cannot be started."""
        system.set_parent_death_signal(_ORPHANED)
        from sifmake.runtime.launch import Launch, command_id  # read while squashfuse starts

        try:
            if os.getppid() != self.wanted.parent:  # it went before it could be noticed
                return 128 + signal.SIGKILL
            self.tree.settle()
            launch = Launch(self.wanted.request, self.tree)
            monitor, information = launch.start(self.wanted.bwrap, ignored=self.wanted.ignored)
            return self.watch(monitor, command_id(information))
        finally:
            self.clean()

    def watch(self, monitor: int, command: int) -> int:
        """Wait for the program's end, pass signals on, and end it when ``sifmake`` has gone."""
        while os.getppid() == self.wanted.parent:
            status = self.ended(monitor, command)
            if status is not None:
                return status
            got = signal.sigtimedwait(_AWAITED, _LOOK_SECONDS)
            if got and got.si_signo in _PASSED.values() and command:
                send(self.program(command), got.si_signo - signal.SIGRTMIN)
        return 128 + signal.SIGKILL

    def program(self, command: int) -> int:
        """Return the process that gets signals: where bwrap's own is the first of its namespace, that one's child.

        The first process of a namespace takes no signal that it does not handle.
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

        A signal from the terminal ends bwrap, and its child becomes ours; what the child makes of it counts.
        """
        statuses = reap()
        if command in statuses:
            return statuses[command]
        if monitor in statuses and not _alive(command):
            return statuses[monitor]
        return None

    def clean(self) -> None:
        """End all processes that are left, then what makes the image readable."""
        end_all(self.tree.helpers())
        if os.getppid() == self.wanted.parent:
            self.tree.dismiss()
        else:
            self.tree.inherit()
        self.tree.end()


def _alive(pid: int) -> bool:
    """Whether a process is there, or its status has not been collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def prepare_signals() -> None:
    """Let the keeper outlive what the terminal sends to everyone, and wait for the rest."""
    for number in QUIETED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, _AWAITED)
