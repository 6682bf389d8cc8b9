"""Starting child processes with clean signal state, and ending all that remain."""

from __future__ import annotations

import os
import time

from sifmake.runtime import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Sequence
else:
    import _signal as signal  # without the enums of the module signal, whose import costs 5 ms

_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
QUIETED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
_GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL."""


def spawn(argv: Sequence[str], *, keep: Iterable[int], ignored: frozenset[int]) -> int:
    """Start the program in the foreground and return its process id.

    Args:
        argv: Absolute path and arguments; the environment is empty.
        keep: File descriptors that it inherits in addition to the standard ones.
        ignored: Signals that stay ignored because the caller ignored them.
    """
    for fd in keep:
        os.set_inheritable(fd, True)
    usual = {*QUIETED, *_PYTHON_IGNORES, signal.SIGCHLD} - ignored
    return os.posix_spawn(argv[0], list(argv), {}, setsigdef=usual, setsigmask=())


def spawn_helper(argv: Sequence[str], output: int, keep: Iterable[int] = ()) -> int:
    """Start a program in the background and return its process id.

    It ends with this process, has no terminal, and writes standard output and error to the file descriptor ``output``.

    Args:
        argv: Absolute path and arguments.
        output: File descriptor.
        keep: Further file descriptors that it inherits.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        system.set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for fd in keep:
            os.set_inheritable(fd, True)
        for number in (*QUIETED, *_PYTHON_IGNORES, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(argv[0], list(argv), {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"})
    finally:
        os._exit(127)


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return [child for child in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent_of(child) == pid]


def _parent_of(pid: int) -> int:
    """Return the id of a process's parent; 0 if the process has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def end_all(spared: frozenset[int] = frozenset(), seconds: float = float("inf")) -> None:
    """End all descendants with SIGTERM, then SIGKILL. This process must be their subreaper and have SIGCHLD blocked.

    Args:
        spared: Children that go on.
        seconds: Longest time to wait for those that cannot be killed.
    """
    begin = time.monotonic()
    number, until = signal.SIGTERM, begin + _GRACE
    asked: set[int] = set()
    while _has_children() and time.monotonic() - begin < seconds:
        reap()
        left = [pid for pid in children_of(os.getpid()) if pid not in spared]
        if not left:
            return
        if time.monotonic() > until:
            number, asked = signal.SIGKILL, set()
        for pid in left:
            if pid not in asked:
                send(pid, number)
                asked.add(pid)
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def _has_children() -> bool:
    """Whether this process has children, including ended ones."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reap() -> dict[int, int]:
    """Collect all ended children: process ids and exit statuses as in a shell."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = exit_status(status)


def exit_status(status: int) -> int:
    """Return a wait status as a shell's exit status: for a signal, 128 plus its number."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    try:  # noqa: SIM105 - importing contextlib takes 3 ms
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
