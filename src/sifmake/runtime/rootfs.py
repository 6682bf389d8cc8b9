"""Making the image's file tree readable: by FUSE, by the kernel, or by unpacking; always gone with its keeper."""

from __future__ import annotations

import os
import time

from sifmake.runtime import system
from sifmake.runtime.children import exit_status, spawn_helper
from sifmake.runtime.errors import RunError
from sifmake.runtime.view import is_below

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable

    from sifmake.runtime.image import Partition
else:
    import _signal as signal  # without the enums of the module signal, whose import costs 5 ms

MOUNT_POINTS = ("/mnt", "/media", "/srv", "/opt", "/var/empty", "/boot", "/home")
"""Folders that exist nearly everywhere; one that this run does not need is covered in its own mount namespace."""
FUSE_DEVICE = "/dev/fuse"
FUSE_PROGRAMS = ("squashfuse_ll", "squashfuse")
START_SECONDS = 20.0
PREFIX = "sifmake-run-"


def find_program(*names: str) -> str:
    """Return the path of the first program that is on PATH (or in an administrator's folder), or nothing."""
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/bin", "/usr/sbin", "/sbin"]
    for name in names:
        for folder in folders:
            path = f"{folder}/{name}"
            if folder.startswith("/") and os.access(path, os.X_OK) and os.path.isfile(path):
                return path
    return ""


def fuse_program(*, owned: bool = False) -> str:
    """Return the path of squashfuse if this user can use it, or nothing.

    Args:
        owned: Whether all files have to appear as the user's; only the program on libfuse's high level can do that.
    """
    names = FUSE_PROGRAMS[1:] if owned else FUSE_PROGRAMS
    return find_program(*names) if os.access(FUSE_DEVICE, os.R_OK | os.W_OK) else ""


def mount_points(needed: Iterable[str]) -> tuple[str, str]:
    """Return two folders that can be covered: none of the needed host paths lies in them."""
    paths = [os.path.realpath(path) for path in needed]
    found = [
        folder
        for folder in MOUNT_POINTS
        if os.path.isdir(folder) and not os.path.islink(folder) and not any(is_below(path, folder) for path in paths)
    ]
    if len(found) < 2:
        raise RunError(
            f"all but {len(found)} of {', '.join(MOUNT_POINTS)} are in use or missing",
            hint="make two of them, empty, to mount the image on",
        )
    return found[0], found[1]


class FuseMount:
    """The image mounted by squashfuse in this process's mount namespace.

    Attributes:
        pid: Process id of squashfuse.
    """

    def __init__(self, program: str, sif: str, partition: Partition, folder: str, options: str = "") -> None:
        self.folder = folder
        self.before = os.stat(folder).st_dev
        self.log = os.memfd_create("squashfuse")
        argv = [program, "-f", "-o", f"ro,nodev,nosuid,offset={partition.offset}{options}", sif, folder]
        self.pid = spawn_helper(argv, self.log)

    def wait(self) -> None:
        """Wait until files can be read; RunError with squashfuse's own words if they never can."""
        until = time.monotonic() + START_SECONDS
        while os.stat(self.folder).st_dev == self.before:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid or time.monotonic() > until:
                raise RunError(f"squashfuse did not mount the image (status {exit_status(status)}): {self.said()}")
            time.sleep(0.0005)

    def said(self) -> str:
        """Return what squashfuse wrote, on one line."""
        text = os.pread(self.log, 2000, 0).decode("utf-8", "replace")
        return " ".join(text.split()) or "it said nothing"

    def end(self) -> None:
        """End squashfuse; its mount goes with it."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def kernel_mount(sif: str, partition: Partition, folder: str) -> None:
    """Mount the image by the kernel, through a loop device that goes with the mount. Needs to be root."""
    program = find_program("mount")
    if not program:
        raise RunError("mount(8) is missing", hint="install the package util-linux")
    options = f"loop,ro,nodev,nosuid,offset={partition.offset},sizelimit={partition.size}"
    run_helper([program, "-n", "-t", "squashfs", "-o", options, sif, folder], lambda status: status == 0)


def unpack(sif: str, partition: Partition, folder: str) -> None:
    """Unpack the image into a new folder; what only root could make is left out."""
    program = find_program("unsquashfs")
    if not program:
        raise RunError(
            "the image can neither be mounted nor unpacked",
            where=sif,
            hint=f"install squashfuse (and let users open {FUSE_DEVICE}), or squashfs-tools",
        )
    argv = [program, "-q", "-n", "-no-xattrs", "-o", str(partition.offset), "-d", folder, sif]
    run_helper(argv, lambda status: status in (0, 2))


def run_helper(argv: list[str], good: Callable[[int], bool]) -> None:
    """Run a program to its end; RunError with its words if it fails."""
    log = os.memfd_create("helper")
    pid = spawn_helper(argv, log)
    status = exit_status(os.waitpid(pid, 0)[1])
    if not good(status):
        text = " ".join(os.pread(log, 2000, 0).decode("utf-8", "replace").split())
        raise RunError(f"{os.path.basename(argv[0])} ended with status {status}: {text[-500:]}")
    os.close(log)


def own_namespace(uid: int, gid: int) -> bool:
    """Enter a mount namespace of our own; returns whether a user namespace was needed for it.

    Raises:
        RunError: The system allows neither.
    """
    if uid == 0:
        try:
            system.unshare(system.CLONE_NEWNS)
            system.mount("", "/", "", system.MS_REC | system.MS_SLAVE)
        except PermissionError:
            pass
        else:
            return False
    try:
        system.unshare(system.CLONE_NEWUSER | system.CLONE_NEWNS)
        for name, text in (("uid_map", f"0 {uid} 1"), ("setgroups", "deny"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    except OSError as error:
        raise RunError(
            f"unprivileged user namespaces are not allowed here ({error.strerror})",
            hint="ask for user.max_user_namespaces > 0 (and kernel.unprivileged_userns_clone=1,"
            " kernel.apparmor_restrict_unprivileged_userns=0 where they exist), or install apptainer",
        ) from None
    return True
