"""System calls that Python lacks, for processes that create namespaces. See the manual pages with the same names."""

from __future__ import annotations

import ctypes
import os
import struct

from sifmake.runtime.system import MS_BIND, MS_RDONLY, MS_REC, MS_REMOUNT, mount

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOEXEC, MS_PRIVATE = 8, 1 << 18
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
_LOCKED = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC
"""Flags that a remount in a user namespace must not drop; ``MS_`` has the same numbers."""
_CAPABILITY_VERSION = 0x20080522
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000

_libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, where: str) -> int:
    """Return the result of a function of the C library; raise OSError with ``where`` if it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), where)
    return result


def syscall(number: int, *arguments: object, where: str) -> int:
    """Make a system call that the C library has no function for; raise OSError if it fails.

    Args:
        number: The call's number on this architecture.
        arguments: ctypes values or bytes; plain numbers are passed as C's long.
        where: For the error.
    """
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return check(_libc.syscall(ctypes.c_long(number), *words), where)


def prctl(option: int, argument: int) -> None:
    """Change an attribute of this process."""
    zero = ctypes.c_ulong(0)
    check(_libc.prctl(option, ctypes.c_ulong(argument), zero, zero, zero), "prctl")


def pivot_root(folder: str) -> None:
    """Make a mount point the root of this mount namespace and detach the old root."""
    os.chdir(folder)
    check(_libc.pivot_root(b".", b"."), folder)
    check(_libc.umount2(b".", 2), "the old root")  # MNT_DETACH
    os.chdir("/")


def unmount(folder: str) -> None:
    """Unmount; fails while the mount is in use."""
    check(_libc.umount2(os.fsencode(folder), 0), folder)


def drop_capabilities(kept: frozenset[int]) -> None:
    """Drop all capabilities except these for the next program that this process executes."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for number in range(last + 1):
        if number not in kept:
            prctl(PR_CAPBSET_DROP, number)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    sets = ctypes.create_string_buffer(24)
    check(_libc.capget(header, sets), "capget")
    effective, permitted, _inherited, effective2, permitted2, _inherited2 = struct.unpack("=6I", sets.raw[:24])
    changed = struct.pack("=6I", effective, permitted, 0, effective2, permitted2, 0)
    check(_libc.capset(header, ctypes.create_string_buffer(changed, 24)), "capset")


def bind(source: str, target: str, *, read_only: bool = False, flags: int = 0) -> None:
    """Bind-mount a file or a folder, with all mounts below it.

    Args:
        source: The file or folder.
        target: The mount point.
        read_only: Whether the target and all mounts below it are read-only.
        flags: Flags such as ``MS_NOSUID``, for the topmost mount.
    """
    mount(source, target, "", MS_BIND | MS_REC)
    if flags:
        _remount(target, flags)
    if read_only:
        make_read_only(target)


def make_read_only(target: str) -> None:
    """Make a mount and all mounts below it read-only."""
    attributes = struct.pack("=4Q", MS_RDONLY, 0, 0, 0)
    try:
        syscall(
            _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, attributes, len(attributes), where=target
        )
    except OSError:  # Linux before 5.12
        for one in _mounts_below(target):
            _remount(one, MS_RDONLY)


def _remount(target: str, flags: int) -> None:
    """Add flags to a mount."""
    mount("", target, "", MS_BIND | MS_REMOUNT | flags | (os.statvfs(target).f_flag & _LOCKED))


def _mounts_below(target: str) -> list[str]:
    """Return the mount points in a mount, itself first (proc(5), mountinfo)."""
    with open("/proc/self/mountinfo", "rb") as file:
        raw = [line.split(b" ")[4] for line in file]
    places = [os.fsdecode(one.decode("unicode_escape").encode("latin-1")) for one in raw]
    return sorted({one for one in places if one == target or one.startswith(f"{target}/")})
