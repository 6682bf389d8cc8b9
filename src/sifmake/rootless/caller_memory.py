"""Another process as seen by the supervisor: its memory, and the files that its paths lead to.

Its processes may end or change their memory at any time: whatever is read here is checked, and used only after the
kernel confirmed that the call is still waiting.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from sifmake.rootless.kernel import check
from sifmake.rootless.owners import mount_of

AT_FDCWD = -100
_LONGEST = 4096
_PAGE = 4096
_FIRST_READ = 256
_libc = ctypes.CDLL(None, use_errno=True)
_read_memory = _libc.process_vm_readv
_until_zero = ctypes.string_at


class _Piece(ctypes.Structure):
    """``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class CallerMemory:
    """Reads and writes the memory of processes."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(_LONGEST + 1)
        self._start = ctypes.addressof(self._buffer)
        self._here, self._there = _Piece(ctypes.addressof(self._buffer), _LONGEST), _Piece(0, 0)
        self._here_pointer, self._there_pointer = ctypes.byref(self._here), ctypes.byref(self._there)

    def text(self, pid: int, address: int) -> bytes:
        """Return a text that ends with a zero byte. Raises OSError if there is none of up to 4096 bytes."""
        found = b""
        while len(found) < _LONGEST:
            size = min(_FIRST_READ if not found else _LONGEST, _PAGE - address % _PAGE)
            self._there.base, self._there.size = address, size
            got = check(_read_memory(pid, self._here_pointer, 1, self._there_pointer, 1, 0), "process_vm_readv")
            self._buffer[got] = b"\0"
            part = _until_zero(self._start)
            found += part
            if len(part) < got:
                return found
            address += got
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    def numbers(self, pid: int, address: int, count: int) -> tuple[int, ...]:
        """Return ``count`` 32-bit numbers; raise OSError if they cannot be read or are more than 1024."""
        if not 0 <= count <= _LONGEST // 4:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._there.base, self._there.size = address, count * 4
        got = _read_memory(pid, self._here_pointer, 1, self._there_pointer, 1, 0)
        return struct.unpack(f"={count}I", self._buffer.raw[: check(got, "process_vm_readv")])

    def write(self, pid: int, address: int, data: bytes) -> None:
        """Write bytes. Raises OSError if the process has no writable memory there."""
        buffer = ctypes.create_string_buffer(data, len(data))
        here = _Piece(ctypes.addressof(buffer), len(data))
        self._there.base, self._there.size = address, len(data)
        check(_libc.process_vm_writev(pid, ctypes.byref(here), 1, self._there_pointer, 1, 0), "process_vm_writev")


class CallerFiles:
    """Opens files by the paths of a process, after taking over its root and current folder.

    Attributes:
        proc: /proc, open.
    """

    def __init__(self) -> None:
        self.proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def end(self) -> None:
        """Return to this process's own root and folder."""
        os.fchdir(self._root)
        os.chroot(".")
        os.close(self._root)
        os.close(self.proc)

    def by_path(self, pid: int, folder: int, path: bytes, *, follow: bool) -> int:
        """Return an ``O_PATH`` descriptor of the file that a path leads to. Raises OSError as the kernel would."""
        self.stand(pid, folder, path)
        return os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))

    def stand(self, pid: int, folder: int, path: bytes) -> None:
        """Take over a process's root and folder, so that its paths mean the same here."""
        self._go(f"{pid}/root")
        os.chroot(".")
        if not path.startswith(b"/"):
            self._go(f"{pid}/cwd" if folder == AT_FDCWD else f"{pid}/fd/{folder}")

    def by_number(self, pid: int, number: int) -> int:
        """Return an ``O_PATH`` descriptor of a file that a process has open."""
        return os.open(f"{pid}/fd/{number}", os.O_PATH | os.O_CLOEXEC, dir_fd=self.proc)

    def name_of(self, pid: int, number: int) -> bytes:
        """Return the kernel's name for a file that a process has open."""
        return os.readlink(os.fsencode(f"{pid}/fd/{number}"), dir_fd=self.proc).rpartition(b"/")[2]

    def real_path(self, fd: int) -> bytes:
        """Return the kernel's path in the tree of a file that is open here."""
        return os.readlink(os.fsencode(f"self/fd/{fd}"), dir_fd=self.proc)

    def umask(self, pid: int) -> int:
        """Return the file mode creation mask of a process (proc(5), status)."""
        fd = os.open(f"{pid}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)
        try:
            lines = os.read(fd, _LONGEST).splitlines()
        finally:
            os.close(fd)
        return next((int(line.split()[1], 8) for line in lines if line.startswith(b"Umask:")), 0o022)

    def mount(self, pid: int) -> int:
        """Return the number of the mount that a process has as its root."""
        fd = os.open(f"{pid}/root", os.O_PATH | os.O_CLOEXEC, dir_fd=self.proc)
        try:
            return mount_of(fd)
        finally:
            os.close(fd)

    def reopen(self, fd: int) -> int:
        """Return a descriptor for reading a file or folder that is open with ``O_PATH``."""
        return os.open(f"self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.proc)

    def _go(self, name: str) -> None:
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.proc)
        try:
            os.fchdir(fd)
        finally:
            os.close(fd)
