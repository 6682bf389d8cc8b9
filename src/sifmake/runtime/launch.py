"""Plan the container of a mounted image and start bwrap."""

from __future__ import annotations

import os

from sifmake.runtime import accounts, environment, program
from sifmake.runtime.bwrap_plan import BwrapPlan
from sifmake.runtime.children import spawn
from sifmake.runtime.container_paths import ContainerPaths
from sifmake.runtime.mounts import lay_out
from sifmake.runtime.readahead import announce, open_file, open_libraries, read_ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.image_mount import ImageMount
    from sifmake.runtime.overlay import OverlayScratch
    from sifmake.runtime.request import Request


class Launch:
    """The start of one program.

    Attributes:
        request: The request.
        tree: The image's files.
        caller: The user who runs it.
        layers: The scratch folder for layers and files, once it is needed.
    """

    def __init__(self, request: Request, tree: ImageMount) -> None:
        self.request = request
        self.tree = tree
        self.caller = tree.caller
        self.layers: OverlayScratch | None = None

    def start(self, bwrap: str, *, ignored: frozenset[int]) -> tuple[int, int]:
        """Start the program.

        Args:
            bwrap: Path of bwrap.
            ignored: Signals that the program must ignore, as its caller does.

        Returns:
            The process id of bwrap, and a file descriptor from which the program's id can be read.

        Raises:
            RunError: The program, or something else that was requested, does not exist.
        """
        view = ContainerPaths(self.tree.folder)
        overlay = self.cover().writable(self.tree.folder) if self.request.writable_tmpfs else ""
        layout = BwrapPlan(view, overlay=overlay)
        cwd = lay_out(self.request, layout, self.caller)
        env = environment.build(self.request, view, self.caller.environ, cwd, self.caller.home_inside)
        words = program.arguments_of(self.request, view, env)
        ahead = open_file(view, words[0]) if self.tree.by_fuse else []
        announce(ahead)
        self.warn(layout.warnings + env.warnings)
        self.accounts(layout)
        self.add_files(layout)
        files, opened = self.file_words(layout)
        information, write_end = os.pipe()
        setenv = [word for name, value in env.values.items() for word in ("--setenv", name, value)]
        arguments = [*layout.arguments(files), *self.identity(), "--chdir", cwd, *setenv, "--info-fd", str(write_end)]
        listing = _file_of("\0".join([*arguments, ""]).encode("utf-8", "surrogateescape"))
        ahead += open_libraries(view, ahead[0]) if ahead else []
        announce(ahead[1:])
        if self.request.no_umask:
            os.umask(0o022)
        keep = [listing, write_end, *opened]
        pid = spawn([bwrap, "--args", str(listing), "--", *words], keep=keep, ignored=ignored)
        os.close(write_end)
        read_ahead(ahead)
        return pid, information

    def accounts(self, layout: BwrapPlan) -> None:
        """Add the user to the account files if the image lacks an entry."""
        caller, view = self.caller, layout.view
        passwd = accounts.passwd_text(view, caller.uid, caller.gid, caller.home_inside)
        for path, text in (("/etc/passwd", passwd), ("/etc/group", accounts.group_text(view, caller.gid))):
            if text is not None:
                layout.put(view.resolve(path).path, text.encode("utf-8", "surrogateescape"))

    def cover(self) -> OverlayScratch:
        """Return the scratch folder for layers and files; each run has one."""
        if self.layers is None:
            from sifmake.runtime.overlay import OverlayScratch

            self.layers = OverlayScratch(self.tree.cover)
        return self.layers

    def file_words(self, layout: BwrapPlan) -> tuple[list[str], list[int]]:
        """Return the arguments that create the plan's files, and the descriptors that they use.

        A program run by root may switch to another user, who could not read the files that bwrap creates (mode 0600).
        """
        words: list[str] = []
        opened: list[int] = []
        for target, data in layout.files():
            if self.caller.uid == 0 and self.tree.cover:
                words += ["--ro-bind", self.cover().file(data), target]
            else:
                opened.append(_file_of(data))
                words += ["--ro-bind-data", str(opened[-1]), target]
        return words, opened

    def add_files(self, layout: BwrapPlan) -> None:
        """Add the files that the image lacks: to the writable layer, or to a layer over their folder.

        If the system does not support layers, the folder's entries are mounted one by one.
        """
        layers = layout.layers()
        if not layers:
            return
        from sifmake.runtime.overlay import replace_file

        for folder, files in layers.items():
            if layout.overlay:
                for name, data in files.items():
                    replace_file(f"{layout.overlay}{folder}/{name}", data)
                continue
            try:
                layout.layered[folder] = self.cover().adding(self.tree.folder + folder, files)
            except OSError:
                layout.opened.add(folder)

    def identity(self) -> list[str]:
        """Return the options for users, capabilities and namespaces."""
        request = self.request
        words = ["--unshare-pid", *(["--as-pid-1"] if request.no_init else [])] if request.pid else []
        words += ["--unshare-net"] if request.net else []
        words += ["--unshare-ipc"] if request.ipc else []
        words += ["--unshare-uts"] if request.uts else []
        words += ["--hostname", request.hostname] if request.hostname else []
        if self.tree.nested and self.caller.uid != 0:
            words += ["--unshare-user", "--uid", str(self.caller.uid), "--gid", str(self.caller.gid)]
        if request.no_privs or (self.tree.nested and self.caller.uid != 0):
            words += ["--cap-drop", "ALL"]
        return words

    def warn(self, warnings: list[str]) -> None:
        """Print warnings to standard error."""
        if not self.request.quiet and warnings:
            from sifmake.errors import one_line

            text = "".join(f"sifmake: warning: {one_line(line)}\n" for line in warnings)
            os.write(2, text.encode("utf-8", "surrogateescape"))


def _file_of(data: bytes) -> int:
    """Return an anonymous file with these bytes, ready to be read."""
    fd = os.memfd_create("sifmake")
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def command_id(information: int) -> int:
    """Return the process id of the program that bwrap starts; 0 if bwrap failed before."""
    text = b""
    while part := os.read(information, 4096):
        text += part
    os.close(information)
    _head, found, tail = text.partition(b'"child-pid":')
    digits = tail.split(b",")[0].strip().rstrip(b"}\n ")
    return int(digits) if found and digits.isdigit() else 0
