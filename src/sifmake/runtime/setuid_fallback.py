"""Support for machines without user namespaces: setuid bwrap, and squashfuse mounted by fusermount.

The mount is then on the host, on a temporary folder. squashfuse ends with this process, and fusermount, which watches
it, unmounts in any case.
"""

from __future__ import annotations

import errno
import os
import time

from sifmake.runtime.children import children_of, exit_status, send, spawn_helper
from sifmake.runtime.errors import RunError
from sifmake.runtime.fuse import FuseMount, fuse_program
from sifmake.runtime.rootfs import find_program
from sifmake.runtime.scratch import MOUNTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from sifmake.runtime.image import OpenImage
else:
    import _signal as signal  # without the enums of the module signal, whose import costs 5 ms

_SETTINGS = (
    ("user.max_user_namespaces", "0", "15000"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
)
"""Settings (sysctl) that can forbid user namespaces, with the forbidding value and an allowing value."""
_UNMOUNTERS = ("fusermount3", "fusermount")
_END_SECONDS = 2.0


def check_bwrap(bwrap: str, refused: str) -> None:
    """Check that bwrap can make a container although this process gets no namespace.

    Args:
        bwrap: Its path.
        refused: The system's error message.

    Raises:
        RunError: It cannot; the message says what forbids it and what helps.
    """
    log = os.memfd_create("bwrap")
    status = exit_status(os.waitpid(spawn_helper([bwrap, "--ro-bind", "/", "/", bwrap, "--version"], log), 0)[1])
    os.close(log)
    if status == 0:
        return
    found = [(name, good) for name, bad, good in _SETTINGS if _setting(name) == bad]
    why = ", ".join(f"{name}={_setting(name)}" for name, _good in found) or refused
    allow = "".join(f"`sysctl -w {name}={good}`, or " for name, good in found)
    raise RunError(
        f"user namespaces are not allowed here ({why}), and {bwrap} is not setuid root",
        hint=f"as root: {allow}`chmod u+s {bwrap}`, or install the package apptainer-suid",
    )


def _setting(name: str) -> str:
    """Return the value of a setting; empty if the kernel does not have it."""
    return _text_of(f"/proc/sys/{name.replace('.', '/')}")


class OutsideMount(FuseMount):
    """A mount on the host, made by squashfuse through fusermount."""

    def helpers(self) -> list[int]:
        """Return squashfuse and the fusermount that watches it."""
        return [self.pid, *(pid for pid in children_of(os.getpid()) if _name_of(pid) in _UNMOUNTERS)]

    def end(self) -> None:
        """Make squashfuse unmount and end; kill it if it does not."""
        send(self.pid, signal.SIGTERM)
        until = time.monotonic() + _END_SECONDS
        while _is_mounted(self.folder) and time.monotonic() < until:
            time.sleep(0.002)
        super().end()
        detach(self.folder)


def _is_mounted(folder: str) -> bool:
    """Whether something is mounted on a folder, even a file system whose server has ended."""
    try:
        return os.stat(folder).st_dev != os.stat(os.path.dirname(folder)).st_dev
    except OSError as error:
        return error.errno == errno.ENOTCONN


def detach(folder: str) -> None:
    """Unmount everything on a folder, even if it is in use."""
    program = find_program(*_UNMOUNTERS)
    if program and _is_mounted(folder):
        log = os.memfd_create("fusermount")
        os.waitpid(spawn_helper([program, "-u", "-z", folder], log), 0)
        os.close(log)


def outside_mount(image: OpenImage, temporary: str) -> OutsideMount | None:
    """Return a mount for a temporary folder; None if users cannot mount."""
    program = fuse_program()
    if not program or not find_program(*_UNMOUNTERS):
        return None
    folder = f"{temporary}/{MOUNTED}"
    os.mkdir(folder, 0o700)
    return OutsideMount(program, image, folder, ",auto_unmount")


def _name_of(pid: int) -> str:
    """Return the name of a process; empty if it has ended."""
    return _text_of(f"/proc/{pid}/comm")


def _text_of(path: str) -> str:
    """Return the text of one of the kernel's files; empty if it does not exist."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
