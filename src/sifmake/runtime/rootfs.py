"""Finding programs, namespaces and mount points for mounting an image; unpacking it as a last resort."""

from __future__ import annotations

import errno
import os

from sifmake.runtime import system
from sifmake.runtime.children import exit_status, spawn_helper
from sifmake.runtime.container_paths import is_below
from sifmake.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.runtime.image import OpenImage

MOUNT_POINTS = ("/mnt", "/media", "/srv", "/opt", "/var/empty", "/boot", "/home")
"""Folders that exist nearly everywhere; one that this run does not need is covered in a private mount namespace."""
PREFIX = "sifmake-run-"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
"""Devices in every container."""


def find_program(*names: str) -> str:
    """Return the path of the first program found on PATH or in an administrator's folder; empty if there is none."""
    return next((path for name in names for path in programs(name)), "")


def programs(name: str) -> Iterator[str]:
    """Yield the path of each program with a name, in the order of PATH and the administrator's folders."""
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/bin", "/usr/sbin", "/sbin"]
    for folder in folders:
        path = f"{folder}/{name}"
        if folder.startswith("/") and os.access(path, os.X_OK) and os.path.isfile(path):
            yield path


def mount_points(needed: Iterable[str]) -> tuple[str, str]:
    """Return two folders that can be covered: none of the needed host paths is inside them."""
    paths = [os.path.realpath(path) for path in needed]
    found: list[str] = []
    for folder in MOUNT_POINTS:
        if os.path.isdir(folder) and not os.path.islink(folder) and not any(is_below(path, folder) for path in paths):
            found.append(folder)
            if len(found) == 2:
                return found[0], found[1]
    raise RunError(
        f"all but {len(found)} of {', '.join(MOUNT_POINTS)} are in use or missing",
        hint="create two of them as empty folders, to mount the image on",
    )


def guard_devices() -> None:
    """Keep programs from changing modes, owners and times of the host's devices, which belong to root."""
    for name in DEVICES:
        path = f"/dev/{name}"
        if os.path.exists(path):
            system.mount(path, path, "", system.MS_BIND)
            flags = os.statvfs(path).f_flag & (os.ST_NOSUID | os.ST_NOEXEC)
            system.mount("", path, "", system.MS_BIND | system.MS_REMOUNT | system.MS_RDONLY | flags)


_FEWER = ["-f", "-processors", "1", "-data-queue", "8", "-frag-queue", "8"]
"""One thread in place of one for each processor, and 16 MiB of buffers in place of 512."""
_SCARCE = ("create thread", "out of memory")
_NOT_STARTED = 127


def unpack(image: OpenImage, folder: str) -> None:
    """Unpack the image into a new folder, leaving out files that only root could create."""
    program = find_program("unsquashfs")
    if not program:
        raise RunError(
            "the image can neither be mounted nor unpacked",
            hint="install squashfuse (and let users open /dev/fuse), or squashfs-tools",
        )
    for fewer in ([], _FEWER):
        argv = [program, "-q", "-n", "-no-xattrs", *fewer, "-o", str(image.offset), "-d", folder, image.name]
        status, text = _output_of(argv, image.fd)
        if status in (0, 2):
            return
        if status != _NOT_STARTED and not any(word in text.lower() for word in _SCARCE):
            raise RunError(f"unsquashfs ended with status {status}: {text}")
    hint = "raise the limits of processes, open files and memory (ulimit -u, ulimit -n, ulimit -v)"
    raise RunError(f"unsquashfs cannot work here ({text or 'it does not start'})", hint=hint)


def _output_of(argv: list[str], fd: int) -> tuple[int, str]:
    """Run a program that reads an open file; return its status and the end of what it said, on one line."""
    log = os.memfd_create("output")
    try:
        status = exit_status(os.waitpid(spawn_helper(argv, log, [fd]), 0)[1])
        return status, " ".join(os.pread(log, 2000, 0).decode("utf-8", "replace").split())[-500:]
    finally:
        os.close(log)


def own_namespace(uid: int, gid: int, *, user: bool = False) -> bool:
    """Enter a new mount namespace; return whether it is in a new user namespace.

    Args:
        uid: The user.
        gid: The user's group.
        user: Whether to use a user namespace even if it is not needed.

    Raises:
        OSError: The system allows neither.
    """
    if uid == 0 and not user:
        try:
            system.unshare(system.CLONE_NEWNS)
            system.mount("", "/", "", system.MS_REC | system.MS_SLAVE)
        except PermissionError:
            pass
        else:
            return False
    if uid and _restricted():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    system.unshare(system.CLONE_NEWUSER | system.CLONE_NEWNS)
    for name, text in (("uid_map", f"0 {uid} 1"), ("setgroups", "deny"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def _restricted() -> bool:
    """Whether AppArmor gives ordinary users namespaces without any rights (Ubuntu 24.04)."""
    try:
        with open("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "rb") as file:
            return file.read(1) == b"1"
    except OSError:
        return False
