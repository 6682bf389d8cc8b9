"""Answers calls that would need ids which a namespace with one id lacks: owners are noted, and told when asked for.

A call that is told here has stopped its caller until it is answered. Most are answered by "go on": most files belong
to root, and that is what the kernel says of all. Only a name that some noted file has makes a look at the file itself
worth its time (0.02 ms for a call that goes on, 0.1 ms for one that is looked at).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from sifmake.rootless.caller_memory import AT_FDCWD, CallerFiles, CallerMemory
from sifmake.rootless.calls import NAMES, NODES, OWNERS, tables
from sifmake.rootless.kernel import check
from sifmake.rootless.owners import OwnerNotes, statx

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_RECEIVE, _SEND, _IS_VALID, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40082104
"""Requests on the listener (linux/seccomp.h)."""
_NOTICE, _ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_ROOM = 256
"""Bytes for a notice; later kernels may tell more than today's 80."""
_GO_ON = 1
_NOFOLLOW, _EMPTY_PATH = 0x100, 0x1000
_NOBODY = 0xFFFFFFFF
_NOBODY_16 = 0xFFFF
_STATX_OWNER = 20
_SPECIAL = (b"", b".", b"..")
_MOST_FAKED = 100
_GONE = (errno.ENOENT, errno.EINTR)
_libc = ctypes.CDLL(None, use_errno=True)


class _Names:
    """Names of files whose owner is noted, with those of links to them."""

    def __init__(self, known: Iterable[bytes]) -> None:
        self._known = set(known)
        self._links: dict[bytes, set[bytes]] = {}

    def __contains__(self, name: bytes) -> bool:
        return name in self._known

    def add(self, name: bytes) -> None:
        """Note a name, and those that lead to it."""
        pending = [name]
        while pending:
            one = pending.pop()
            if one not in self._known:
                self._known.add(one)
                pending += self._links.get(one, ())

    def add_if(self, old: bytes, new: bytes) -> None:
        """Note that what had one name has, or can be reached by, another one."""
        if old in self._known:
            self.add(new)
        elif old != new:
            self._links.setdefault(old, set()).add(new)


class Supervisor:
    """Answers the calls of one script.

    Attributes:
        notes: Owners.
        faked: What was said to be done and was not.
    """

    def __init__(self, listener: int, names: Iterable[bytes]) -> None:
        self.faked: list[str] = []
        self._listener = listener
        self._names = _Names(names)
        self._memory = CallerMemory()
        self._files = CallerFiles()
        self.notes = OwnerNotes(self._files.reopen)
        self._kinds = {table.word: (table.names(), table) for table in tables()}
        self._id = 0
        self._notice, self._empty = bytearray(_ROOM), bytes(_ROOM)
        _libc.ioctl(listener, ctypes.c_ulong(_SET_FLAGS), ctypes.c_ulong(1))  # both on one processor: Linux 6.6

    def answer_one(self) -> None:
        """Answer a call that waits."""
        self._notice[:] = self._empty
        try:
            fcntl.ioctl(self._listener, _RECEIVE, self._notice)
        except OSError as error:
            if error.errno in _GONE:
                return
            raise
        self._id, pid, _, number, kind, _, *arguments = _NOTICE.unpack_from(self._notice)
        self._reply(*self._answer(pid, kind, number, arguments))

    def end(self) -> None:
        """Give this process back its root and current folder."""
        self._files.end()

    def _answer(self, pid: int, kind: int, number: int, arguments: list[int]) -> tuple[int, int]:
        """Return the error and the flags with which a call is answered."""
        names, table = self._kinds[kind]
        name = names.get(number, "")
        try:
            if name in OWNERS:
                self._change_owner(pid, name, arguments, short=number in table.old_owners.values())
                return 0, 0
            if name in NODES:
                return self._fake_node(pid, arguments[1 if name == "mknodat" else 0])
            if name in NAMES:
                return self._follow_name(pid, name, arguments)
            found = self._state(pid, name, arguments, table.stat_size, table.stat_owner)
        except OSError as error:
            # Owners are ours to change, and so are the errors; what else fails does so in the kernel, too.
            return (error.errno or errno.EIO, 0) if name in OWNERS else (0, _GO_ON)
        return 0, 0 if found else _GO_ON

    def _reply(self, error: int, flags: int) -> None:
        try:
            fcntl.ioctl(self._listener, _SEND, bytearray(_ANSWER.pack(self._id, 0, -error, flags)))
        except OSError as problem:
            if problem.errno not in _GONE:
                raise

    def _still_waits(self) -> None:
        """Raise OSError unless the caller is the one that has asked, and not another that got its number."""
        fcntl.ioctl(self._listener, _IS_VALID, bytearray(struct.pack("=Q", self._id)))

    def _change_owner(self, pid: int, name: str, arguments: list[int], *, short: bool) -> None:
        fd, uid, gid = self._target(pid, name, arguments)
        try:
            self._still_waits()
            nobody = _NOBODY_16 if short else _NOBODY
            uid, gid = (-1 if one & nobody == nobody else one & nobody for one in (uid, gid))
            # What the kernel does besides: copying up, dropping setuid bits and capabilities, refusing.
            real = [ctypes.c_uint(_NOBODY if one < 0 else 0) for one in (uid, gid)]
            check(_libc.fchownat(fd, b"", *real, _EMPTY_PATH), "fchownat")
            old = self.notes.get(fd) or (0, 0)
            self.notes.set(fd, (old[0] if uid < 0 else uid, old[1] if gid < 0 else gid))
        finally:
            os.close(fd)

    def _target(self, pid: int, name: str, arguments: list[int]) -> tuple[int, int, int]:
        """Return what is to have another owner, open, and the owner; its name is known from here on."""
        if name == "fchown":
            self._names.add(_last(self._files.name_of(pid, arguments[0])))
            return self._files.by_number(pid, arguments[0]), arguments[1], arguments[2]
        if name == "fchownat":
            folder, address, uid, gid, flags = arguments[:5]
        else:
            folder, address, uid, gid, flags = AT_FDCWD, *arguments[:3], _NOFOLLOW if name == "lchown" else 0
        return self._open(pid, folder, self._memory.text(pid, address), flags), uid, gid

    def _open(self, pid: int, folder: int, path: bytes, flags: int) -> int:
        """Open what a path leads to, and note the names that it has."""
        folder = _signed(folder)
        if not path and flags & _EMPTY_PATH:
            if folder == AT_FDCWD:
                return self._files.by_path(pid, folder, b".", follow=True)
            self._names.add(_last(self._files.name_of(pid, folder)))
            return self._files.by_number(pid, folder)
        fd = self._files.by_path(pid, folder, path, follow=not flags & _NOFOLLOW)
        self._names.add(_last(path))
        self._names.add(_last(self._files.real_name(fd)))
        return fd

    def _state(self, pid: int, name: str, arguments: list[int], size: int, owner: int) -> bool:
        """Tell the noted owner of a file; returns False if there is none, so that the kernel tells."""
        extended = name == "statx"
        if name == "fstat":
            folder, path, flags, address = arguments[0], b"", _EMPTY_PATH, arguments[1]
        elif name in ("stat", "lstat"):
            folder, path = AT_FDCWD, self._memory.text(pid, arguments[0])
            flags, address = (_NOFOLLOW if name == "lstat" else 0), arguments[1]
        else:
            folder, path = arguments[0], self._memory.text(pid, arguments[1]) if arguments[1] else b""
            flags, address = (arguments[2], arguments[4]) if extended else (arguments[3], arguments[2])
        fd = self._open_if_noted(pid, _signed(folder), path, flags)
        if fd < 0:
            return False
        try:
            noted = self.notes.get(fd)
            if not noted:
                return False
            state = statx(fd, flags & 0x6000, arguments[3] & _NOBODY) if extended else self._plain_state(fd, size)
        finally:
            os.close(fd)
        at = _STATX_OWNER if extended else owner
        self._still_waits()
        self._memory.write(pid, address, state[:at] + struct.pack("=II", *noted) + state[at + 8 :])
        return True

    def _open_if_noted(self, pid: int, folder: int, path: bytes, flags: int) -> int:
        """Open a file for a look unless its name says that it has no note; -1 then."""
        if path:
            name = path.rpartition(b"/")[2]
            if name not in self._names and name not in _SPECIAL:
                return -1
            fd = self._files.by_path(pid, folder, path, follow=not flags & _NOFOLLOW)
        elif folder == AT_FDCWD:
            fd = self._files.by_path(pid, folder, b".", follow=True)
        else:
            if _last(self._files.name_of(pid, folder)) not in self._names:
                return -1
            fd = self._files.by_number(pid, folder)
        return fd

    def _plain_state(self, fd: int, size: int) -> bytes:
        """Return what newfstatat(2) writes."""
        buffer = ctypes.create_string_buffer(size)
        number = tables()[0].calls["newfstatat"]
        arguments = (ctypes.c_int(fd), b"", buffer, ctypes.c_int(_EMPTY_PATH))
        check(_libc.syscall(ctypes.c_long(number), *arguments), "newfstatat")
        return buffer.raw

    def _follow_name(self, pid: int, name: str, arguments: list[int]) -> tuple[int, int]:
        """Learn a further name of a file, which the kernel is about to give it."""
        at = name in ("renameat", "renameat2", "linkat")
        places = (1, 3) if at else (0, 2) if name == "symlinkat" else (0, 1)
        old, new = (_last(self._memory.text(pid, arguments[place]).rstrip(b"/")) for place in places)
        self._names.add_if(old, new)
        if name == "renameat2" and arguments[4] & 2:  # RENAME_EXCHANGE
            self._names.add_if(new, old)
        return 0, _GO_ON

    def _fake_node(self, pid: int, address: int) -> tuple[int, int]:
        path = os.fsdecode(self._memory.text(pid, address))
        if len(self.faked) < _MOST_FAKED:
            self.faked.append(f"the device node {path}")
        return 0, 0


def _last(path: bytes) -> bytes:
    """Return the last name of a path, without what the kernel says of files that have none any more."""
    return path.rpartition(b"/")[2].removesuffix(b" (deleted)")


def _signed(number: int) -> int:
    """Return an argument as C's int."""
    number &= _NOBODY
    return number - (1 << 32) if number >> 31 else number
