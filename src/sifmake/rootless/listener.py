"""System calls that wait for an answer (seccomp_unotify(2))."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from typing import NamedTuple

from sifmake.rootless.calls import tables

_RECEIVE, _SEND, _IS_VALID, _ADD, _SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103, 0x40082104
"""Requests on the listener (linux/seccomp.h)."""
_NOTICE, _ANSWER, _ADDED = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI"), struct.Struct("=QIIII")
_ROOM = 256
"""Bytes for a notification; later kernels may need more than today's 80."""
_GO_ON, _AND_SEND = 1, 2
_GONE = (errno.ENOENT, errno.EINTR)


class Call(NamedTuple):
    """A waiting call.

    Attributes:
        number: The kernel's id of the notification.
        pid: The waiting thread.
        name: Name of the call.
        arguments: Six numbers of 64 bits.
        short: Whether ids have 16 bits.
        stat_size: Bytes of ``struct stat``.
        stat_owner: Offset of the owner in it.
    """

    number: int
    pid: int
    name: str
    arguments: list[int]
    short: bool
    stat_size: int
    stat_owner: int


class CallAnswer(NamedTuple):
    """The answer to a call.

    Attributes:
        value: Result.
        error: Number of an error, 0 for none.
        go_on: Whether the kernel executes the call itself.
        sent: Whether the answer was sent already.
    """

    value: int = 0
    error: int = 0
    go_on: bool = False
    sent: bool = False


GO_ON = CallAnswer(go_on=True)
DONE = CallAnswer()


class Listener:
    """Receives calls.

    Args:
        fd: File descriptor from seccomp(2).
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._kinds = {table.word: (table.names(), table) for table in tables()}
        self._notice, self._empty = bytearray(_ROOM), bytes(_ROOM)
        # Running both sides on one processor saves a third of the time (Linux 6.6).
        ctypes.CDLL(None).ioctl(fd, ctypes.c_ulong(_SET_FLAGS), ctypes.c_ulong(1))

    def receive(self) -> tuple[int, ...] | None:
        """Return a waiting call in the kernel's form; None if it no longer waits."""
        self._notice[:] = self._empty
        try:
            fcntl.ioctl(self._fd, _RECEIVE, self._notice)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        return _NOTICE.unpack_from(self._notice)

    def call(self, notice: tuple[int, ...]) -> Call:
        """Return a call as a value with names."""
        number, pid, _, call, kind, _, *arguments = notice
        names, table = self._kinds[kind]
        short = call in table.old_owners.values()
        return Call(number, pid, names.get(call, ""), arguments, short, table.stat_size, table.stat_owner)

    def reply(self, call: Call, answer: CallAnswer) -> None:
        """Answer a call."""
        if not answer.sent:
            self._send(_ANSWER.pack(call.number, answer.value, -answer.error, _GO_ON if answer.go_on else 0))

    def go_on(self, notice: tuple[int, ...]) -> None:
        """Let the kernel go on with a call."""
        self._send(_ANSWER.pack(notice[0], 0, 0, _GO_ON))

    def _send(self, data: bytes) -> None:
        try:
            fcntl.ioctl(self._fd, _SEND, data)
        except OSError as error:
            if error.errno not in _GONE:
                raise

    def demand(self, call: Call) -> None:
        """Raise OSError unless the caller is still waiting, because its number may belong to another process by now."""
        fcntl.ioctl(self._fd, _IS_VALID, bytearray(struct.pack("=Q", call.number)))

    def give_file(self, call: Call, fd: int, flags: int) -> CallAnswer:
        """Give the caller a copy of a file descriptor as the result of its call."""
        mode = flags & os.O_CLOEXEC
        try:
            fcntl.ioctl(self._fd, _ADD, bytearray(_ADDED.pack(call.number, _AND_SEND, fd, 0, mode)))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # Linux before 5.14 needs two calls for this.
            return CallAnswer(fcntl.ioctl(self._fd, _ADD, bytearray(_ADDED.pack(call.number, 0, fd, 0, mode))))
        return CallAnswer(sent=True)
