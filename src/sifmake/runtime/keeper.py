"""The process between ``sifmake`` and the program: it holds the mounts, and ends everything when either is gone.

``sifmake`` itself only waits and passes signals on, through a pipe whose end tells the keeper that ``sifmake`` was killed.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal

from sifmake.runtime import accounts, environment, program, system
from sifmake.runtime.children import QUIETED, end_all, exit_status, reap, send, spawn
from sifmake.runtime.errors import RunError
from sifmake.runtime.mounts import Layout, lay_out
from sifmake.runtime.rootfs import (
    FuseMount,
    find_program,
    fuse_program,
    kernel_mount,
    mount_point,
    own_namespace,
    unpack,
)
from sifmake.runtime.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.image import Partition
    from sifmake.runtime.request import Request
    from sifmake.runtime.scratch import Scratch

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
        self.host = environment.callers(os.environ)
        self.uid, self.gid = os.geteuid(), os.getegid()
        self.cwd = current_folder()
        self.home = self.home_folders()

    def home_folders(self) -> tuple[str, str]:
        """Return the home directory on the host and in the container."""
        if self.request.home:
            source, _colon, target = self.request.home.partition(":")
            return os.path.realpath(source), target or os.path.abspath(source)
        home = accounts.home_of(self.uid, self.host)
        return os.path.realpath(home), home

    def run(self) -> int:
        """Run the program and return its exit status. Raises RunError if it cannot be started."""
        bwrap = find_program("bwrap")
        if not bwrap:
            raise RunError(
                "neither apptainer nor singularity nor bwrap is on PATH", hint="install the package bubblewrap (or apptainer)"
            )
        try:
            root, nested = self.open_image()
            monitor, info = self.start(bwrap, root, nested=nested)
            return self.watch(monitor, command_id(info))
        finally:
            self.clean()

    def open_image(self) -> tuple[str, bool]:
        """Make the image readable; returns its folder, and whether this process is in a user namespace now."""
        fuse = fuse_program()
        if not fuse and self.uid != 0:
            return self.unpacked(), own_namespace(self.uid, self.gid)
        nested = own_namespace(self.uid, self.gid)
        sources = [bind.partition(":")[0] for bind in self.request.binds]
        folder = mount_point([self.request.sif, self.cwd, self.home[0], *sources])
        if fuse:
            self.fuse = FuseMount(fuse, self.request.sif, self.partition, folder, all_users=not nested)
            self.fuse.wait()
        elif nested:
            return self.unpacked(), nested
        else:
            kernel_mount(self.request.sif, self.partition, folder)
        return folder, nested

    def unpacked(self) -> str:
        """Unpack the image into a temporary folder."""
        from sifmake.runtime.scratch import Scratch

        self.scratch = Scratch()
        root = f"{self.scratch.path}/root"
        unpack(self.request.sif, self.partition, root)
        return root

    def overlay(self, root: str) -> str:
        """Lay a writable tmpfs over the image and return the folder of both."""
        folder = mount_point([self.request.sif, self.cwd, self.home[0], root, *self.request.binds])
        try:
            system.mount("tmpfs", folder, "tmpfs", system.MS_NOSUID | system.MS_NODEV, "mode=0755")
            for name in ("upper", "work", "root"):
                os.mkdir(f"{folder}/{name}", 0o755)  # noqa: PTH102
            options = f"lowerdir={root},upperdir={folder}/upper,workdir={folder}/work"
            system.mount("overlay", f"{folder}/root", "overlay", 0, options)
        except OSError as error:
            raise RunError(
                f"the image cannot be made writable: {error.strerror}",
                hint="--writable-tmpfs needs overlay mounts (Linux 5.11 for ordinary users); leave it out, or use apptainer",
            ) from None
        return f"{folder}/root"

    def start(self, bwrap: str, root: str, *, nested: bool) -> tuple[int, int]:
        """Start the program through bwrap; returns bwrap's process id and where it tells the program's."""
        view = View(root)
        layout = Layout(view, overlay=self.overlay(root) if self.request.writable_tmpfs else "")
        cwd = lay_out(self.request, layout, self.home, self.cwd)
        env = environment.build(self.request, view, self.host, cwd, self.home[1])
        words = program.arguments_of(self.request, view, env)
        self.warn(layout.warnings + env.warnings)
        files = self.account_files(view)
        information, write_end = os.pipe()
        arguments = [
            *layout.arguments(),
            *[word for target, fd in files for word in ("--ro-bind-data", str(fd), target)],
            *self.identity(nested=nested),
            *["--clearenv", "--chdir", cwd],
            *[word for name, value in env.values.items() for word in ("--setenv", name, value)],
            *["--info-fd", str(write_end)],
        ]
        listing = file_of("\0".join([*arguments, ""]))
        argv = [bwrap, "--args", str(listing), "--", *words]
        if self.request.no_umask:
            os.umask(0o022)
        keep = [listing, write_end, *(fd for _target, fd in files)]
        pid = spawn(argv, env={}, keep=keep, ignored=self.ignored)
        os.close(write_end)
        return pid, information

    def identity(self, *, nested: bool) -> list[str]:
        """Return the options about users and processes."""
        words = ["--unshare-pid", "--unshare-ipc"] if self.request.pid else []
        if nested and self.uid != 0:
            words += ["--unshare-user", "--uid", str(self.uid), "--gid", str(self.gid), "--cap-drop", "ALL"]
        return words

    def account_files(self, view: View) -> list[tuple[str, int]]:
        """Return the account files that differ from the image's, as open files."""
        passwd = accounts.passwd_text(view, self.uid, self.gid, self.home[1])
        group = accounts.group_text(view, self.gid)
        texts = (("/etc/passwd", passwd), ("/etc/group", group))
        return [(view.resolve(path).path, file_of(text)) for path, text in texts if text is not None]

    def warn(self, warnings: list[str]) -> None:
        """Tell warnings on standard error."""
        if not self.request.quiet and warnings:
            from sifmake.errors import one_line

            text = "".join(f"sifmake: warning: {one_line(line)}\n" for line in warnings)
            os.write(2, text.encode("utf-8", "surrogateescape"))

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


def current_folder() -> str:
    """Return the current directory, the root if it has been removed."""
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return "/"


def file_of(text: str) -> int:
    """Return an anonymous file with a text in it, ready to be read."""
    fd = os.memfd_create("sifmake")
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def command_id(information: int) -> int:
    """Return the process id of what bwrap starts, 0 if it failed before."""
    text = b""
    while part := os.read(information, 4096):
        text += part
    os.close(information)
    _head, found, tail = text.partition(b'"child-pid":')
    digits = tail.split(b",")[0].strip().rstrip(b"}\n ")
    return int(digits) if found and digits.isdigit() else 0


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


__all__ = ["FROM_TERMINAL", "Keeper", "exit_status", "quiet_signals"]
