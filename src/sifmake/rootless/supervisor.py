"""Answer system calls that need ids which a namespace with one id does not have.

A call stops its caller until it is answered: for 0.02 ms if the kernel executes it, 0.1 ms if a file is checked.
"""

from __future__ import annotations

import errno
import os

from sifmake.rootless.caller_memory import CallerFiles, CallerMemory
from sifmake.rootless.calls import IDENTITIES, MAKING, NAMES, NODES, OPENING, OWNERS, QUESTIONS, STATES
from sifmake.rootless.identity_answers import IdentityAnswers
from sifmake.rootless.listener import GO_ON, CallAnswer, Listener
from sifmake.rootless.owner_answers import OwnerAnswers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.rootless.listener import Call
    from sifmake.rootless.work_tree import WorkTree

_OURS = frozenset({*OWNERS, *IDENTITIES, *NODES, "mkdir", "mkdirat", "symlink", "symlinkat"})
"""Calls executed here, whose errors are returned; if another call fails here, it also fails in the kernel."""


class Supervisor:
    """Answers the calls of one script, and changes this process's root and current folder meanwhile.

    Args:
        fd: File descriptor on which the calls arrive.
        tree: Where the script runs.
    """

    def __init__(self, fd: int, tree: WorkTree) -> None:
        memory = CallerMemory()
        self._umask = os.umask(0)
        self._files = CallerFiles()
        self._listener = Listener(fd)
        self._owners = OwnerAnswers(self._listener, memory, self._files, tree.names)
        self._owners.notes.take_over(tree.owners, tree.root)
        identities = IdentityAnswers(self._listener, memory, self._files, self._owners)
        self._answers: dict[str, Callable[[Call], CallAnswer]] = {
            **dict.fromkeys(OWNERS, self._owners.set_owner),
            **dict.fromkeys(STATES, self._owners.tell_state),
            **dict.fromkeys(NAMES, self._owners.follow_name),
            **dict.fromkeys(("symlink", "symlinkat"), identities.make_link),
            **dict.fromkeys(NODES, self._owners.fake_node),
            **dict.fromkeys(IDENTITIES, identities.set_identity),
            **dict.fromkeys(QUESTIONS, identities.tell_identity),
            **dict.fromkeys((*OPENING, *MAKING), identities.make),
        }

    def answer_one(self) -> None:
        """Answer a call that waits."""
        notice = self._listener.receive()
        if not notice:
            return
        if self._owners.is_plain(notice):
            self._listener.go_on(notice)
            return
        call = self._listener.call(notice)
        self._listener.reply(call, self._answer(call))

    def faked(self) -> list[str]:
        """Return what was reported as done but was not."""
        return self._owners.faked

    def owner_of(self, path: bytes, root: int) -> tuple[int, int] | None:
        """Return the noted owner of a path below an open folder, if it is not in an attribute of the file."""
        return self._owners.notes.find(path, root)

    def end(self) -> None:
        """Restore this process's root and current folder."""
        os.umask(self._umask)
        self._files.end()

    def _answer(self, call: Call) -> CallAnswer:
        try:
            return self._answers[call.name](call)
        except OSError as error:
            return CallAnswer(error=error.errno or errno.EIO) if call.name in _OURS else GO_ON
