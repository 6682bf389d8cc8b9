"""The few system calls that Python's ``os`` does not have."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REC, MS_SLAVE = 1, 2, 4, 0x4000, 1 << 19
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

_libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError if a call failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Move this process into namespaces of its own; see the manual page of that name."""
    check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Attach a file system; see the manual page of that name in section 2."""
    arguments = [os.fsencode(text) if text else None for text in (source, target, kind)]
    check(_libc.mount(*arguments, ctypes.c_ulong(flags), os.fsencode(data) or None), target)


def set_parent_death_signal(number: int) -> None:
    """Ask the kernel to send this process a signal when its parent ends."""
    check(_libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


def become_subreaper() -> None:
    """Let orphaned descendants become children of this process."""
    check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")
