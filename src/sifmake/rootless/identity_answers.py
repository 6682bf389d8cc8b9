"""Answers calls that set or return the identity of a process, and calls of such processes that create files."""

from __future__ import annotations

import errno
import os
import struct

from sifmake.rootless.caller_memory import AT_FDCWD, CallerFiles, CallerMemory
from sifmake.rootless.identities import Identities, change
from sifmake.rootless.listener import DONE, GO_ON, CallAnswer
from sifmake.rootless.owner_answers import OwnerAnswers, signed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.rootless.identities import Identity, Ids
    from sifmake.rootless.listener import Call, Listener

_LEFT_OUT = os.O_CLOEXEC | os.O_TRUNC
_MODE = 0o7777


class IdentityAnswers:
    """Answers calls about the identity of processes."""

    def __init__(self, listener: Listener, memory: CallerMemory, files: CallerFiles, owners: OwnerAnswers) -> None:
        self._listener = listener
        self._memory = memory
        self._files = files
        self._owners = owners
        self._identities = Identities(files.proc)

    def set_identity(self, call: Call) -> CallAnswer:
        """Answer setuid(2) and similar calls."""
        if call.name == "capset":
            return DONE
        old = self._identities.of(call.pid)
        if call.name == "setgroups":
            if old.users.effective:
                return CallAnswer(error=errno.EPERM)
            new = old._replace(further=self._memory.numbers(call.pid, call.arguments[1], signed(call.arguments[0])))
        else:
            new = change(old, call.name, call.arguments)
        self._identities.note(call.pid, new)
        if call.name.startswith("setfs"):  # these return the previous value
            return CallAnswer((old.users if call.name == "setfsuid" else old.groups).files)
        return DONE

    def tell_identity(self, call: Call) -> CallAnswer:
        """Answer getuid(2) and similar calls; the kernel answers for root."""
        identity = self._identities.of(call.pid)
        if identity == ((0,) * 4, (0,) * 4, ()):
            return GO_ON
        if call.name == "getgroups":
            return self._tell_groups(call, identity)
        ids: Ids = identity.users if call.name.endswith("uid") else identity.groups
        if call.name.startswith("getres"):
            self._listener.demand(call)
            for address, one in zip(call.arguments, ids[:3], strict=False):
                self._memory.write(call.pid, address, struct.pack("=I", one))
            return DONE
        return CallAnswer(ids.effective if call.name.startswith("gete") else ids.real)

    def make(self, call: Call) -> CallAnswer:
        """Answer open(2), mkdir(2) and similar calls: new files belong to who the process believes to be."""
        identity = self._identities.of(call.pid)
        owner = (identity.users.files, identity.groups.files)
        if owner == (0, 0):
            return GO_ON
        at = call.name.endswith("at")
        folder, *rest = (signed(call.arguments[0]), *call.arguments[1:]) if at else (AT_FDCWD, *call.arguments)
        path = self._memory.text(call.pid, rest[0])
        self._files.stand(call.pid, folder, path)
        self._listener.demand(call)
        mask = self._files.umask(call.pid)
        if call.name.startswith("mkdir"):
            return self._make_folder(call, path, rest[1] & _MODE & ~mask, owner)
        flags, mode = (os.O_WRONLY | os.O_TRUNC, rest[1]) if call.name == "creat" else (signed(rest[1]), rest[2])
        return self._make_file(call, path, flags, mode & _MODE & ~mask, owner)

    def make_link(self, call: Call) -> CallAnswer:
        """Answer symlink(2) likewise."""
        self._owners.follow_name(call)
        identity = self._identities.of(call.pid)
        owner = (identity.users.files, identity.groups.files)
        if owner == (0, 0):
            return GO_ON
        folder, place = (signed(call.arguments[1]), 2) if call.name == "symlinkat" else (AT_FDCWD, 1)
        target, path = (self._memory.text(call.pid, call.arguments[at]) for at in (0, place))
        self._files.stand(call.pid, folder, path)
        self._listener.demand(call)
        os.symlink(target, path)
        self._note_path(call.pid, path, owner)
        return DONE

    def _make_folder(self, call: Call, path: bytes, mode: int, owner: tuple[int, int]) -> CallAnswer:
        os.mkdir(path, mode)
        self._note_path(call.pid, path, owner)
        return DONE

    def _make_file(self, call: Call, path: bytes, flags: int, mode: int, owner: tuple[int, int]) -> CallAnswer:
        """Create a file and return it to the process; the kernel opens existing files."""
        try:
            fd = os.open(path, flags & ~_LEFT_OUT | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except OSError:
            return GO_ON
        try:
            self._note(call.pid, fd, path, owner)
            return self._listener.give_file(call, fd, flags)
        finally:
            os.close(fd)

    def _note_path(self, pid: int, path: bytes, owner: tuple[int, int]) -> None:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._note(pid, fd, path, owner)
        finally:
            os.close(fd)

    def _note(self, pid: int, fd: int, path: bytes, owner: tuple[int, int]) -> None:
        self._owners.note_new(pid, fd, path.rstrip(b"/").rpartition(b"/")[2], owner)

    def _tell_groups(self, call: Call, identity: Identity) -> CallAnswer:
        size, count = signed(call.arguments[0]), len(identity.further)
        if size and size < count:
            return CallAnswer(error=errno.EINVAL)
        if size:
            self._listener.demand(call)
            self._memory.write(call.pid, call.arguments[1], struct.pack(f"={count}I", *identity.further))
        return CallAnswer(count)
