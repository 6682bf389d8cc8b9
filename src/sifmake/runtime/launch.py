"""From a readable image to a running program: plans everything and starts bwrap."""

from __future__ import annotations

import os

from sifmake.runtime import accounts, environment, program, system
from sifmake.runtime.children import spawn
from sifmake.runtime.errors import RunError
from sifmake.runtime.mounts import Layout, lay_out
from sifmake.runtime.view import View
from sifmake.runtime.warm import read_ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.request import Request
    from sifmake.runtime.tree import Tree


class Launch:
    """The start of one program.

    Attributes:
        request: What is to run.
        tree: The image's files.
        caller: Who wants it.
    """

    def __init__(self, request: Request, tree: Tree) -> None:
        self.request = request
        self.tree = tree
        self.caller = tree.caller

    def start(self, bwrap: str, *, ignored: frozenset[int]) -> tuple[int, int]:
        """Start the program.

        Args:
            bwrap: Path of bwrap.
            ignored: Signals that the program is to ignore, as its caller does.

        Returns:
            The process id of bwrap, and a file descriptor from which the program's can be read.

        Raises:
            RunError: The program, or something that was asked for, is not there.
        """
        view = View(self.tree.folder)
        layout = Layout(view, overlay=self.overlay() if self.request.writable_tmpfs else "")
        cwd = lay_out(self.request, layout, self.caller)
        env = environment.build(self.request, view, self.caller.environ, cwd, self.caller.home_inside)
        words = program.arguments_of(self.request, view, env)
        self.warn(layout.warnings + env.warnings)
        files = self.account_files(view)
        information, write_end = os.pipe()
        arguments = [
            *layout.arguments(),
            *[word for target, fd in files for word in ("--ro-bind-data", str(fd), target)],
            *self.identity(),
            *["--chdir", cwd],
            *[word for name, value in env.values.items() for word in ("--setenv", name, value)],
            *["--info-fd", str(write_end)],
        ]
        listing = file_of("\0".join([*arguments, ""]))
        if self.tree.slow:
            read_ahead(view, words[0])
        if self.request.no_umask:
            os.umask(0o022)
        keep = [listing, write_end, *(fd for _target, fd in files)]
        pid = spawn([bwrap, "--args", str(listing), "--", *words], keep=keep, ignored=ignored)
        os.close(write_end)
        return pid, information

    def overlay(self) -> str:
        """Lay a writable tmpfs over the image and return the folder of both."""
        folder = self.tree.cover
        if not folder:
            raise RunError("--writable-tmpfs needs user namespaces, which are not allowed here", hint="leave it out")
        try:
            system.mount("tmpfs", folder, "tmpfs", system.MS_NOSUID | system.MS_NODEV, "mode=0755")
            for name in ("upper", "work", "root"):
                os.mkdir(f"{folder}/{name}", 0o755)
            options = f"lowerdir={self.tree.folder},upperdir={folder}/upper,workdir={folder}/work"
            system.mount("overlay", f"{folder}/root", "overlay", 0, options)
        except OSError as error:
            raise RunError(
                f"the image cannot be made writable: {error.strerror}",
                hint="--writable-tmpfs needs overlay mounts (Linux 5.11 for ordinary users); leave it out",
            ) from None
        return f"{folder}/root"

    def identity(self) -> list[str]:
        """Return the options about users and processes."""
        words = ["--unshare-pid", "--unshare-ipc"] if self.request.pid else []
        if self.tree.nested and self.caller.uid != 0:
            uid, gid = str(self.caller.uid), str(self.caller.gid)
            words += ["--unshare-user", "--uid", uid, "--gid", gid, "--cap-drop", "ALL"]
        return words

    def account_files(self, view: View) -> list[tuple[str, int]]:
        """Return the account files that differ from the image's, as open files."""
        caller = self.caller
        passwd = accounts.passwd_text(view, caller.uid, caller.gid, caller.home_inside)
        texts = (("/etc/passwd", passwd), ("/etc/group", accounts.group_text(view, caller.gid)))
        return [(view.resolve(path).path, file_of(text)) for path, text in texts if text is not None]

    def warn(self, warnings: list[str]) -> None:
        """Tell warnings on standard error."""
        if not self.request.quiet and warnings:
            from sifmake.errors import one_line

            text = "".join(f"sifmake: warning: {one_line(line)}\n" for line in warnings)
            os.write(2, text.encode("utf-8", "surrogateescape"))


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
