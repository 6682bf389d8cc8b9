"""Answers calls that set or return owners of files, and calls that give files further names.

Most calls that ask for an owner are passed on to the kernel, which says root for every file; for most files, that is
right. The file itself is checked only if its name is that of a file with a noted owner.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct

from sifmake.rootless.caller_memory import AT_FDCWD, CallerFiles, CallerMemory
from sifmake.rootless.calls import tables
from sifmake.rootless.kernel import check
from sifmake.rootless.listener import DONE, GO_ON, CallAnswer
from sifmake.rootless.owners import OwnerNotes, statx

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sifmake.rootless.listener import Call, Listener

_NOFOLLOW, _EMPTY_PATH, _SYNC = 0x100, 0x1000, 0x6000
_EXCHANGE = 2
_NOBODY, _NOBODY_16 = 0xFFFFFFFF, 0xFFFF
_STATX_OWNER = 20
_FIRST = 6
"""Place of the first argument in a notice."""
_PLACES = {
    "stat": (_FIRST, 0),
    "lstat": (_FIRST, 0),
    "fstat": (-1, 0),
    "newfstatat": (_FIRST + 1, _FIRST + 3),
    "statx": (_FIRST + 1, _FIRST + 2),
}
"""Places of path and flags in a notice, for calls that ask for owners."""
_MOST_FILES = 1 << 30
"""From here on an argument is not a file descriptor but AT_FDCWD."""
_DELETED = b" (deleted)"
_SPECIAL = (b"", b".", b"..")
_ROOT = (0, 0)
_MOST_FAKED = 100
_MODE = 0o7777
_MOST_LINKS = 200_000
_libc = ctypes.CDLL(None, use_errno=True)


class _Names:
    """Names of files with noted owners, and of links to them."""

    def __init__(self, known: Iterable[bytes]) -> None:
        self._known = set(known)
        self._links: dict[bytes, set[bytes]] = {}
        self._count = 0

    def __contains__(self, name: bytes) -> bool:
        return name in self._known

    def add(self, name: bytes) -> None:
        """Note a name, and the names of links to it."""
        pending = [name]
        while pending:
            one = pending.pop()
            if one not in self._known:
                self._known.add(one)
                pending += self._links.get(one, ())

    def add_if(self, old: bytes, new: bytes) -> None:
        """Note that a file got, or can be reached by, another name."""
        if old in self._known or self._count > _MOST_LINKS:  # too many to remember: check more files than necessary
            self.add(new)
        elif old != new:
            self._links.setdefault(old, set()).add(new)
            self._count += 1


class OwnerAnswers:
    """Answers calls about owners.

    Attributes:
        notes: Owners.
        faked: What was reported as done but was not.
    """

    def __init__(self, listener: Listener, memory: CallerMemory, files: CallerFiles, names: Iterable[bytes]) -> None:
        self.faked: list[str] = []
        self.notes = OwnerNotes(files.reopen)
        self._listener = listener
        self._memory = memory
        self._files = files
        self._names = _Names(names)
        calls = tables()[0].calls
        kind = tables()[0].word
        self._places = {(kind, calls[name]): place for name, place in _PLACES.items() if name in calls}

    def is_plain(self, notice: tuple[int, ...]) -> bool:
        """Whether a call asks for the owner of a file whose name says that none is noted: nearly all do.

        Says the same as :meth:`tell_state`, in a tenth of the time, of the calls that there are most of.
        """
        place = self._places.get((notice[4], notice[3]))
        if place is None:
            return False
        path, flags = place
        try:
            if path < 0 or (flags and notice[flags] & _EMPTY_PATH and notice[_FIRST] < _MOST_FILES):
                name = self._files.name_of(notice[1], notice[_FIRST])
            else:
                name = self._memory.text(notice[1], notice[path]).rpartition(b"/")[2]
        except OSError:
            return True  # the kernel fails, too
        return name not in self._names and name not in _SPECIAL and not name.endswith(_DELETED)

    def note_new(self, pid: int, fd: int, name: bytes, owner: tuple[int, int]) -> None:
        """Note the owner of a file that was created here."""
        self._look_for_mount(pid)
        self._names.add(name)
        self.notes.set(fd, owner)

    def set_owner(self, call: Call) -> CallAnswer:
        """Answer chown(2) and similar calls: do what the kernel would do besides, and note the owner."""
        self._look_for_mount(call.pid)
        folder, path, flags, *ids = self._target(call)
        fd = self._open(call.pid, folder, path, flags)
        try:
            self._listener.demand(call)
            nobody = _NOBODY_16 if call.short else _NOBODY
            uid, gid = (-1 if one & nobody == nobody else one & nobody for one in ids)
            # This copies up, drops setuid bits and capabilities, or fails, as in the kernel.
            real = [ctypes.c_uint(_NOBODY if one < 0 else 0) for one in (uid, gid)]
            check(_libc.fchownat(fd, b"", *real, _EMPTY_PATH), "fchownat")
            self._note(call.pid, fd, (uid, gid), path)
        finally:
            os.close(fd)
        return DONE

    def _note(self, pid: int, fd: int, wanted: tuple[int, int], path: bytes) -> None:
        """Note an owner, -1 for what stays; nothing if root gets what was root's, as nearly all files of packages.

        In a folder of others, that a file is root's is noted, too: else it would get the group of a setgid folder.
        """
        folder, _, name = self._files.real_path(fd).rpartition(b"/")
        names = {_last(path or b"."), _last(name)}
        old = self.notes.get(fd) if any(name in self._names for name in names) else None
        among_others = _last(folder) in self._names
        if not old and among_others:
            old = (0, self._group_in(pid, folder))
        uid, gid = (was if new < 0 else new for was, new in zip(old or _ROOT, wanted, strict=True))
        owner = (uid, gid)
        if old or owner != _ROOT or among_others:
            for name in names:
                self._names.add(name)
            self.notes.set(fd, owner)

    def tell_state(self, call: Call) -> CallAnswer:
        """Answer stat(2) and similar calls if an owner is noted."""
        folder, path, flags, address = self._question(call)
        fd = self._open_if_noted(call.pid, folder, path, flags)
        if fd < 0:
            return GO_ON
        self._look_for_mount(call.pid)
        try:
            noted = self.notes.get(fd)
            if not noted:
                return GO_ON
            extended = call.name == "statx"
            mask = call.arguments[3] & _NOBODY
            state = statx(fd, flags & _SYNC, mask) if extended else _plain_state(fd, call.stat_size)
        finally:
            os.close(fd)
        at = _STATX_OWNER if extended else call.stat_owner
        self._listener.demand(call)
        self._memory.write(call.pid, address, state[:at] + struct.pack("=II", *noted) + state[at + 8 :])
        return DONE

    def follow_name(self, call: Call) -> CallAnswer:
        """Note a further name that the kernel is about to give to a file."""
        at = call.name in ("renameat", "renameat2", "linkat")
        places = (1, 3) if at else (0, 2) if call.name == "symlinkat" else (0, 1)
        old, new = (_last(self._memory.text(call.pid, call.arguments[place]).rstrip(b"/")) for place in places)
        self._names.add_if(old, new)
        if call.name == "renameat2" and call.arguments[4] & _EXCHANGE:
            self._names.add_if(new, old)
        return GO_ON

    def fake_node(self, call: Call) -> CallAnswer:
        """Make an empty file in the place of a device node, which the layer has then."""
        folder, *rest = call.arguments if call.name == "mknodat" else (AT_FDCWD, *call.arguments)
        path, mode, device = self._memory.text(call.pid, rest[0]), rest[1] & _NOBODY, rest[2] & _NOBODY
        if stat.S_ISCHR(mode) and not device:  # a whiteout for the overlay, which refuses it, too
            return CallAnswer(error=errno.EPERM)
        self._files.stand(call.pid, signed(folder), path)
        self._listener.demand(call)
        os.mknod(path, stat.S_IFREG | (mode & _MODE & ~self._files.umask(call.pid)))
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.notes.set_device(fd, mode, device)
        finally:
            os.close(fd)
        if len(self.faked) < _MOST_FAKED:
            self.faked.append(f"the device node {os.fsdecode(path)}")
        return DONE

    def _group_in(self, pid: int, folder: bytes) -> int:
        """Return the group of what root makes in a folder."""
        fd = self._files.by_path(pid, AT_FDCWD, folder or b"/", follow=False)
        try:
            setgid = os.fstat(fd).st_mode & stat.S_ISGID
            return (self.notes.get(fd) or _ROOT)[1] if setgid else 0
        finally:
            os.close(fd)

    def _look_for_mount(self, pid: int) -> None:
        """Find out which mount is the tree, from the first process that asks: the script's."""
        if self.notes.mount < 0:
            self.notes.mount = self._files.mount(pid)

    def _target(self, call: Call) -> tuple[int, bytes, int, int, int]:
        """Return the arguments of a call that changes an owner: folder, path, flags, user and group."""
        arguments = call.arguments
        if call.name == "fchown":
            return signed(arguments[0]), b"", _EMPTY_PATH, arguments[1], arguments[2]
        if call.name == "fchownat":
            path = self._memory.text(call.pid, arguments[1])
            return signed(arguments[0]), path, arguments[4], arguments[2], arguments[3]
        flags = _NOFOLLOW if call.name == "lchown" else 0
        return AT_FDCWD, self._memory.text(call.pid, arguments[0]), flags, arguments[1], arguments[2]

    def _open(self, pid: int, folder: int, path: bytes, flags: int) -> int:
        """Open what a path leads to."""
        if path or not flags & _EMPTY_PATH:
            return self._files.by_path(pid, folder, path, follow=not flags & _NOFOLLOW)
        if folder == AT_FDCWD:
            return self._files.by_path(pid, folder, b".", follow=True)
        return self._files.by_number(pid, folder)

    def _question(self, call: Call) -> tuple[int, bytes, int, int]:
        """Return the arguments of a call: folder, path, flags, and where the answer goes."""
        arguments = call.arguments
        if call.name == "fstat":
            return signed(arguments[0]), b"", _EMPTY_PATH, arguments[1]
        if call.name in ("stat", "lstat"):
            flags = _NOFOLLOW if call.name == "lstat" else 0
            return AT_FDCWD, self._memory.text(call.pid, arguments[0]), flags, arguments[1]
        path = self._memory.text(call.pid, arguments[1]) if arguments[1] else b""
        if call.name == "statx":
            return signed(arguments[0]), path, arguments[2], arguments[4]
        return signed(arguments[0]), path, arguments[3], arguments[2]

    def _open_if_noted(self, pid: int, folder: int, path: bytes, flags: int) -> int:
        """Open a file to check it; -1 if its name shows that it has no note."""
        if path or folder == AT_FDCWD:
            name = path.rpartition(b"/")[2]
            known = name in self._names or name in _SPECIAL
        else:
            known = _last(self._files.name_of(pid, folder)) in self._names
        return self._open(pid, folder, path, flags) if known else -1


def _plain_state(fd: int, size: int) -> bytes:
    """Return the result of newfstatat(2)."""
    buffer = ctypes.create_string_buffer(size)
    number = tables()[0].calls["newfstatat"]
    arguments = (ctypes.c_int(fd), b"", buffer, ctypes.c_int(_EMPTY_PATH))
    check(_libc.syscall(ctypes.c_long(number), *arguments), "newfstatat")
    return buffer.raw


def _last(path: bytes) -> bytes:
    """Return the last component of a path, without the kernel's suffix for deleted files."""
    return path.rpartition(b"/")[2].removesuffix(_DELETED)


def signed(number: int) -> int:
    """Return an argument as C's int."""
    number &= _NOBODY
    return number - (1 << 32) if number >> 31 else number
