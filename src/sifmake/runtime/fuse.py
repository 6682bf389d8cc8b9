"""Mounting the image with squashfuse, which ends with the process that started it."""

from __future__ import annotations

import os
import time

from sifmake.runtime import system
from sifmake.runtime.children import send, spawn_helper
from sifmake.runtime.errors import RunError
from sifmake.runtime.rootfs import find_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from sifmake.runtime.image import OpenImage
else:
    import _signal as signal  # without the enums of the module signal, whose import costs 5 ms

_DEVICE = "/dev/fuse"
_PROGRAMS = ("squashfuse_ll", "squashfuse")
_START_SECONDS = 20.0
_FLAGS = system.MS_RDONLY | system.MS_NOSUID | system.MS_NODEV


def fuse_program(*, owned: bool = False) -> str:
    """Return the path of squashfuse if this user can use it, else an empty string.

    Args:
        owned: Whether all files must appear to belong to the user; only ``squashfuse`` can do that, not
            ``squashfuse_ll``.
    """
    names = _PROGRAMS[1:] if owned else _PROGRAMS
    return find_program(*names) if os.access(_DEVICE, os.R_OK | os.W_OK) else ""


class FuseMount:
    """A running squashfuse that serves a mount.

    Attributes:
        folder: Mount point of the image.
        pid: Process id of squashfuse.
        owner: Process that has to end it.
    """

    def __init__(self, program: str, image: OpenImage, folder: str, options: str) -> None:
        """Describe a mount.

        Args:
            program: Path of squashfuse.
            image: The image to mount.
            folder: Mount point.
            options: Options for squashfuse, each with a comma before it.
        """
        self.program = program
        self.image = image
        self.folder = folder
        self.options = options
        self.log = os.memfd_create("squashfuse")
        self.pid = 0
        self.owner = 0

    def start(self, where: str, keep: tuple[int, ...] = ()) -> None:
        """Start squashfuse on a mount point, or on the descriptor path of an open mount."""
        options = f"ro,nodev,nosuid,offset={self.image.offset}{self.options}"
        argv = [self.program, "-f", "-o", options, self.image.name, where]
        self.owner = os.getpid()
        self.pid = spawn_helper(argv, self.log, [self.image.fd, *keep])

    def serve(self, *, everybody: bool) -> None:
        """Mount the image in this process's mount namespace and start squashfuse to serve it.

        No process has to wait for the mount, because reading from it waits for squashfuse. Needs libfuse 3.3 (2018).

        Args:
            everybody: Whether other users may read it.
        """
        device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
        data = f"fd={device},rootmode=40000,user_id=0,group_id=0{',allow_other' if everybody else ''}"
        system.mount("squashfuse", self.folder, f"fuse.{os.path.basename(self.program)}", _FLAGS, data)
        self.start(f"/dev/fd/{device}", (device,))
        os.close(device)

    def mount(self, *, everybody: bool) -> None:
        """Have squashfuse mount the image and wait for it; RunError if it fails."""
        before = os.stat(self.folder).st_dev
        until = time.monotonic() + _START_SECONDS
        self.options += ",allow_other" if everybody else ""
        self.start(self.folder)
        while os.stat(self.folder).st_dev == before:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended or time.monotonic() > until:
                self.end()
                text = " ".join(os.pread(self.log, 2000, 0).decode("utf-8", "replace").split())
                raise RunError(f"squashfuse did not mount the image: {text or 'it printed no message'}")
            time.sleep(0.001)

    def helpers(self) -> list[int]:
        """Return the processes that must not end before the processes that use the image."""
        return [self.pid]

    def dismiss(self) -> None:
        """End squashfuse; its mount disappears with the namespace."""
        send(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """End squashfuse and wait for it."""
        self.dismiss()
        try:  # noqa: SIM105 - importing contextlib takes 3 ms
            os.waitpid(self.pid, 0)
        except ChildProcessError:  # it is another process's child
            pass
