"""Notes about owners that files cannot really have: in an extended attribute of files and folders, else in a table."""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from sifmake.rootless.kernel import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEVICE = "user.sifmake.device"
"""Attribute of an empty file that stands for a device node: kind, major and minor number."""
NOTE = "user.sifmake.owner"
"""An attribute that survives renaming, linking, and copying a file to the upper layer of an overlay."""
Owner = tuple[int, int]
"""User and group."""
Device = tuple[int, int, int]
"""Kind (``S_IFCHR`` or ``S_IFBLK``), major and minor number."""
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_EMPTY_PATH = 0x1000
_BASIC, _BTIME, _MOUNT = 0x7FF, 0x800, 0x1000
_STATX_SIZE = 256
_IDENTITY = struct.Struct("=32xQ40xqI44xII")
"""Inode, time of birth, device, in ``struct statx``."""
_MOUNT_ID = struct.Struct("=144xQ")
"""The number of the mount in the same structure."""
_libc = ctypes.CDLL(None, use_errno=True)


def owner_note(uid: int, gid: int) -> bytes:
    """Return the value of the attribute for an owner."""
    return b"%d:%d" % (uid, gid)


def noted_owner(value: bytes | None) -> Owner | None:
    """Return the owner that a note names; None if there is no valid note."""
    user, _, group = (value or b"").partition(b":")
    return (int(user), int(group)) if user.isdigit() and group.isdigit() else None


def noted_device(value: bytes | None) -> Device | None:
    """Return the device that a file stands for; None where it stands for itself."""
    kind, *numbers = (value or b"").split(b":")
    if kind not in (b"c", b"b") or len(numbers) != 2 or not all(one.isdigit() for one in numbers):
        return None
    return stat.S_IFCHR if kind == b"c" else stat.S_IFBLK, int(numbers[0]), int(numbers[1])


def statx(fd: int, flags: int = 0, mask: int = _BASIC | _BTIME) -> bytes:
    """Return the kernel's ``struct statx`` for a file that is open with ``O_PATH``."""
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    check(_libc.statx(fd, b"", _AT_EMPTY_PATH | flags, mask, buffer), "statx")
    return buffer.raw


class OwnerNotes:
    """Noted owners of files.

    Only files of the tree get attributes, because files of the host must not be changed.

    Args:
        reopen: Opens a file or folder for reading that is open with ``O_PATH``.

    Attributes:
        mount: Number of the mount with the tree; -1 while it is unknown.
    """

    def __init__(self, reopen: Callable[[int], int]) -> None:
        self.mount = -1
        self._reopen = reopen
        self._table: dict[tuple[int, ...], Owner] = {}

    def get(self, fd: int) -> Owner | None:
        """Return the noted owner of a file that is open with ``O_PATH``."""
        found = noted_owner(self._read(fd)) if self._holds_notes(fd) else None
        return found or (self._table.get(_identity(fd)) if self._table else None)

    def set(self, fd: int, owner: Owner) -> None:
        """Note an owner. Raises OSError if the file is gone."""
        written = self._holds_notes(fd) and self._write(fd, owner)
        if not written or (self._table and _identity(fd) in self._table):
            self._table[_identity(fd)] = owner

    def set_device(self, fd: int, mode: int, device: int) -> None:
        """Note that an empty file stands for a device node. Raises OSError where files have no attributes."""
        kind = b"c" if stat.S_ISCHR(mode) else b"b"
        file = self._reopen(fd)
        try:
            os.setxattr(file, DEVICE, b"%b:%d:%d" % (kind, os.major(device), os.minor(device)))
        finally:
            os.close(file)

    def take_over(self, owners: Mapping[str, Owner], root: str) -> None:
        """Note the owners of paths below a folder that could not be noted at the files when they were unpacked."""
        for path, owner in owners.items():
            try:
                fd = os.open(os.path.join(root.encode(), path.encode("latin-1")), _LOOK)
            except FileNotFoundError:  # a layer above hides it
                continue
            try:
                self._table[_identity(fd)] = owner
            finally:
                os.close(fd)

    def find(self, path: bytes, root: int) -> Owner | None:
        """Return the owner in the table of a path below an open folder."""
        if not self._table:
            return None
        fd = os.open(path or b".", _LOOK, dir_fd=root)
        try:
            return self._table.get(_identity(fd))
        finally:
            os.close(fd)

    def _holds_notes(self, fd: int) -> bool:
        """Whether an open file belongs to the tree, and may have user attributes."""
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        return kind in (stat.S_IFREG, stat.S_IFDIR) and mount_of(fd) == self.mount

    def _read(self, fd: int) -> bytes | None:
        file = self._reopen(fd)
        try:
            return os.getxattr(file, NOTE)
        except OSError:
            return None
        finally:
            os.close(file)

    def _write(self, fd: int, owner: Owner) -> bool:
        """Change the attribute; return whether that is possible."""
        file = self._reopen(fd)
        try:
            os.setxattr(file, NOTE, owner_note(*owner))
        except OSError:
            return False
        finally:
            os.close(file)
        return True


def mount_of(fd: int) -> int:
    """Return the number of the mount through which a file was opened with ``O_PATH``."""
    number: int = _MOUNT_ID.unpack_from(statx(fd, mask=_MOUNT))[0]
    return number


def _identity(fd: int) -> tuple[int, ...]:
    """Return values that identify a file, even if its inode number is reused later."""
    numbers: tuple[int, ...] = _IDENTITY.unpack_from(statx(fd))
    return numbers
