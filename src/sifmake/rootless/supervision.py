"""Connect a script to the supervisor: the script's process installs the filter and passes on the listener."""

from __future__ import annotations

import os
import socket

from sifmake.rootless.seccomp import install_filter
from sifmake.rootless.supervisor import Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select

    from sifmake.rootless.work_tree import WorkTree

_NOT_NOTED = "owners of files: this system lets no program answer the system calls of another"
_PTRACE_SCOPE = "/proc/sys/kernel/yama/ptrace_scope"
_IN, _ENDED = 1, 0x18
"""POLLIN, and POLLERR or POLLHUP."""


def can_supervise() -> bool:
    """Whether one process can answer another's system calls here; tested before the process namespace is created."""
    if _memory_is_closed():
        return False
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if install_filter("single", listen=True) else 1
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def _memory_is_closed() -> bool:
    """Whether no process may read another one's memory, not even root's (Yama's ptrace_scope, 3)."""
    try:
        with open(_PTRACE_SCOPE) as file:
            return file.read().strip() == "3"
    except OSError:
        return False


class Supervision:
    """The connection to a supervisor, which works while the keeper waits for the script.

    Args:
        tree: Where the script runs.
        possible: Whether calls can be answered; else they are reported as done.
    """

    def __init__(self, tree: WorkTree, *, possible: bool) -> None:
        self._keepers_end, self._scripts_end = socket.socketpair()
        self._tree = tree
        self._possible = possible
        self._listener = -1
        self._supervisor: Supervisor | None = None
        self._simple = False

    def ends(self) -> tuple[int, ...]:
        """Return the file descriptors that the script's process needs."""
        return (self._scripts_end.fileno(),)

    def submit(self, mode: str) -> None:
        """Submit this process and its descendants."""
        listener = install_filter(mode, listen=self._possible)
        if not listener:
            self._scripts_end.send(b"-")
            return
        socket.send_fds(self._scripts_end, [b"+"], [listener])
        os.close(listener)
        self._scripts_end.recv(1)  # it listens

    def begin(self, poll: select.poll) -> None:
        """Let the keeper wait for the script's process."""
        self._scripts_end.close()
        poll.register(self._keepers_end, _IN)

    def handle(self, fd: int, event: int, poll: select.poll) -> None:
        """Handle an event."""
        if fd == self._keepers_end.fileno():
            poll.unregister(fd)
            self._meet(poll)
        elif fd == self._listener and self._supervisor:
            if event & _IN:
                self._supervisor.answer_one()
            elif event & _ENDED:
                poll.unregister(fd)

    def end(self) -> None:
        """Release everything but the notes."""
        if self._supervisor:
            self._supervisor.end()
            os.close(self._listener)
        self._keepers_end.close()

    def faked(self) -> tuple[str, ...]:
        """Return what was reported as done but was not."""
        said = (_NOT_NOTED,) if self._simple else ()
        return (*said, *(self._supervisor.faked() if self._supervisor else ()))

    def owner_of(self, path: bytes, root: int) -> tuple[int, int] | None:
        """Return the noted owner of a path below an open folder, if it is not in an attribute of the file."""
        return self._supervisor.owner_of(path, root) if self._supervisor else None

    def _meet(self, poll: select.poll) -> None:
        word, fds, _, _ = socket.recv_fds(self._keepers_end, 1, 1)
        self._simple = word == b"-"
        if fds:
            self._listener = fds[0]
            self._supervisor = Supervisor(self._listener, self._tree)
            poll.register(self._listener, _IN)
            self._keepers_end.send(b"+")
