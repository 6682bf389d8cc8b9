"""What the quotas of user and group leave, asked from the kernel, because statvfs(2) shows only project quotas.

sifmake calls quotactl_fd(2), or quotactl(2) with the device on kernels older than 5.14. Both calls only read. Network
file systems (NFS, Lustre) keep their quotas on the server, where neither call sees them.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_GET = 0x800007
_USER, _GROUP = 0, 1
_QUOTACTL_FD = 443
"""The number of the system call, the same on all but one of the architectures that Python supports."""
_LIMITS = struct.Struct("=8QI4x")
"""``struct if_dqblk`` of <linux/quota.h>: limits in KiB, usage in bytes."""
_KIB = 1024
_MOUNTS = Path("/proc/self/mountinfo")
_XFS_OPTIONS = ("usrquota", "grpquota")
"""Mount options of XFS file systems with quotas, which the kernel's count leaves out; others have ``noquota``."""
_COUNTED = Path("/proc/sys/fs/quota/allocated_dquots")


def quota_left(fd: int) -> int | None:
    """Return how many more bytes this user may write on a file system; None if there is no quota.

    Root is not bound by quotas.

    Args:
        fd: An open folder on it.
    """
    if os.geteuid() == 0 or not _are_in_use():
        return None
    folder = os.fstat(fd)
    group = folder.st_gid if folder.st_mode & stat.S_ISGID else os.getegid()
    ask = partial(_ask, fd, folder.st_dev)
    found = [_left(data) for data in (ask(_USER, os.geteuid()), ask(_GROUP, group)) if data]
    return min((left for left in found if left is not None), default=None)


def _are_in_use() -> bool:
    """Tell whether this machine has quotas, because otherwise the calls and their imports are not worth the time."""
    try:
        return _COUNTED.read_text().strip() not in {"", "0"} or any(map(_MOUNTS.read_text().count, _XFS_OPTIONS))
    except (OSError, ValueError):
        return False


def _left(data: bytes) -> int | None:
    """Return what a quota leaves; a soft limit counts when its grace period is over."""
    hard, soft, used, *_, grace_ends, _, _ = _LIMITS.unpack(data)
    limits = [hard] if hard else []
    if soft and 0 < grace_ends < time.time():
        limits.append(soft)
    return max(0, min(limits) * _KIB - used) if limits else None


def _ask(fd: int, device: int, kind: int, owner: int) -> bytes | None:
    """Return the kernel's answer on the quota of a user or group; None if there is no quota."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    answer = ctypes.create_string_buffer(_LIMITS.size)
    command = ctypes.c_uint(_GET << 8 | kind)
    by_descriptor: Callable[[], int] = partial(library.syscall, _QUOTACTL_FD, fd, command, owner, answer)
    if by_descriptor() == 0:
        return answer.raw
    name = _device_name(device)
    if name and library.quotactl(command, os.fsencode(name), owner, answer) == 0:
        return answer.raw
    return None


def _device_name(device: int) -> str:
    """Return the path of a mounted device; empty if it is not a device."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text().splitlines():
        before, _, behind = line.partition(" - ")
        if before.split()[2] == number:
            name = behind.split()[1]
            return name if name.startswith("/") else ""
    return ""
