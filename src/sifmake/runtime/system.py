"""The few system calls that Python's ``os`` does not have.

They are called through the C parts of ``ctypes``, because importing the rest takes as long as mounting an image.
"""

from __future__ import annotations

import os
from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, CFuncPtr, _SimpleCData, dlopen, get_errno

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_SLAVE = 1, 2, 4, 32, 0x1000, 0x4000, 1 << 19
_MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class _Int(_SimpleCData):  # type: ignore[type-arg]  # it is not generic at run time
    """The C type ``int``."""

    _type_ = "i"


class _Long(_SimpleCData):  # type: ignore[type-arg]  # likewise
    """The C type ``unsigned long``."""

    _type_ = "L"


class _Call(CFuncPtr):
    """A function of the C library that returns an int and sets errno."""

    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Int


class _Library:
    """The C library that this process has loaded."""

    _handle = dlopen(None, 0)  # type: ignore[arg-type]  # None stands for the program with all its libraries


def _call(name: str, *arguments: bytes | int | _Long | None, where: str = "") -> int:
    """Call a function of the C library; OSError, which names ``where``, if it fails."""
    result: int = _Call((name, _Library))(*arguments)  # type: ignore[arg-type]  # a library needs a handle only
    if result < 0:
        number = get_errno()
        raise OSError(number, os.strerror(number), where or name)
    return result


def unshare(flags: int) -> None:
    """Move this process into new namespaces, as described in section 2 of the manual."""
    _call("unshare", flags)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Attach a file system, as described in section 2 of the manual."""
    words = [os.fsencode(text) if text else None for text in (source, target, kind)]
    _call("mount", *words, _Long(flags), os.fsencode(data) or None, where=target)


def unmount(target: str) -> None:
    """Detach a file system lazily: its name disappears at once, its users keep it until they are done."""
    _call("umount2", os.fsencode(target), _MNT_DETACH, where=target)


def control(fd: int, request: int, argument: int | bytes, where: str) -> int:
    """Call a device driver; see ioctl(2). ``argument`` is a number, or a block that the driver reads."""
    return _call("ioctl", fd, _Long(request), _Long(argument) if isinstance(argument, int) else argument, where=where)


def set_parent_death_signal(number: int) -> None:
    """Ask the kernel to send this process a signal when its parent ends."""
    _call("prctl", PR_SET_PDEATHSIG, _Long(number), _Long(0), _Long(0), _Long(0))


def become_subreaper() -> None:
    """Make orphaned descendants children of this process."""
    _call("prctl", PR_SET_CHILD_SUBREAPER, _Long(1), _Long(0), _Long(0), _Long(0))
