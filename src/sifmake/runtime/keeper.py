"""The process between ``sifmake`` and the program: it holds the mounts, and ends everything when either is gone.

``sifmake`` itself only waits and passes signals on, through a pipe whose end tells the keeper that it was killed.
"""

from __future__ import annotations

import fcntl
import os
import select

from sifmake.runtime.caller import Caller
from sifmake.runtime.children import QUIETED, end_all, reap, send
from sifmake.runtime.errors import RunError
from sifmake.runtime.rootfs import (
    FuseMount,
    find_program,
    fuse_program,
    kernel_mount,
    mount_points,
    own_namespace,
    unpack,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from sifmake.runtime.image import Partition
    from sifmake.runtime.request import Request
    from sifmake.runtime.scratch import Scratch
else:
    import _signal as signal  # without the enums of the module signal, whose import costs 5 ms

FROM_TERMINAL = 0x80
"""Bit of a passed signal that the terminal has sent to the program as well."""


class Keeper:
    """One run of a program, from mounting its image to removing every trace."""

    def __init__(self, request: Request, partition: Partition, lifeline: int, ignored: frozenset[int]) -> None:
        self.request = request
        self.partition = partition
        self.lifeline = lifeline
        self.ignored = ignored
        self.fuse: FuseMount | None = None
        self.scratch: Scratch | None = None
        self.caller = Caller(request.home)

    def run(self) -> int:
        """Run the program and return its exit status. Raises RunError if it cannot be started."""
        bwrap = find_program("bwrap")
        if not bwrap:
            raise RunError(
                "neither apptainer nor singularity nor bwrap is on PATH",
                hint="install the package bubblewrap (or apptainer)",
            )
        try:
            return self.run_in_namespace(bwrap)
        finally:
            self.clean()

    def run_in_namespace(self, bwrap: str) -> int:
        """Make the image readable and run the program in it."""
        fuse = fuse_program(owned=self.request.writable_tmpfs and self.caller.uid != 0)
        root = "" if fuse or self.caller.uid == 0 else self.unpacked()
        nested = own_namespace(self.caller.uid, self.caller.gid)
        sources = [item.partition(":")[0] for item in self.request.binds]
        image, layer = mount_points([self.request.sif, self.caller.cwd, self.caller.home, *sources])
        if fuse:
            self.start_fuse(fuse, image, nested=nested)
        from sifmake.runtime.launch import Launch, command_id  # read while squashfuse starts

        launch = Launch(self.request, self.caller, root or self.readable(image, nested=nested))
        for_other = nested and self.caller.uid != 0
        monitor, information = launch.start(bwrap, layer, nested=for_other, ignored=self.ignored)
        return self.watch(monitor, command_id(information))

    def start_fuse(self, program: str, folder: str, *, nested: bool) -> None:
        """Begin to mount the image by squashfuse."""
        # To change a file in the writable layer, the user must be its owner: nobody else is in the namespace.
        options = ",allow_other" if not nested else ",uid=0,gid=0" if self.request.writable_tmpfs else ""
        self.fuse = FuseMount(program, self.request.sif, self.partition, folder, options)

    def readable(self, folder: str, *, nested: bool) -> str:
        """Return a folder with the image: by squashfuse, else by the kernel, else unpacked."""
        if self.fuse:
            try:
                self.fuse.wait()
            except RunError:
                self.fuse.end()
                self.fuse = None
            else:
                return folder
        if nested:
            return self.unpacked()
        try:
            kernel_mount(self.request.sif, self.partition, folder)
        except RunError:
            return self.unpacked()
        return folder

    def unpacked(self) -> str:
        """Unpack the image into a temporary folder."""
        from sifmake.runtime.scratch import Scratch

        self.scratch = Scratch()
        root = f"{self.scratch.path}/root"
        unpack(self.request.sif, self.partition, root)
        return root

    def watch(self, monitor: int, command: int) -> int:
        """Wait for the program's end, pass signals on, and end it when ``sifmake`` has gone."""
        poll = select.poll()
        poll.register(self.lifeline, select.POLLIN)
        poll.register(wake_up_fd(), select.POLLIN)
        while True:
            status = self.ended(monitor, command)
            if status is not None:
                return status
            for fd, _event in poll.poll(1000):
                data = os.read(fd, 64)
                if fd == self.lifeline and not data:
                    return 128 + signal.SIGKILL
                if fd == self.lifeline:
                    pass_on(data, command)

    def ended(self, monitor: int, command: int) -> int | None:
        """Return the program's exit status if it has ended.

        A signal from the terminal ends bwrap, and its child becomes ours; what the child makes of it counts.
        """
        statuses = dict(reap())
        if command in statuses:
            return statuses[command]
        if monitor in statuses and not alive(command):
            return statuses[monitor]
        return None

    def clean(self) -> None:
        """End all processes that are left, then the mount."""
        end_all(frozenset([self.fuse.pid]) if self.fuse else frozenset())
        if self.fuse:
            self.fuse.end()
        if self.scratch:
            self.scratch.remove()


def pass_on(data: bytes, command: int) -> None:
    """Send the program the signals that ``sifmake`` got, except what the terminal has sent to both."""
    for number in data:
        if not number & FROM_TERMINAL and command:
            send(command, number)


def alive(pid: int) -> bool:
    """Whether a process is there, or its status has not been collected."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def wake_up_fd() -> int:
    """Return a pipe that can be read whenever a child has ended."""
    read_end, write_end = os.pipe()
    for fd in (read_end, write_end):
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    return read_end


def quiet_signals() -> None:
    """Let the keeper outlive what the terminal sends to everyone."""
    for number in QUIETED:
        signal.signal(number, signal.SIG_IGN)
