"""What a user asks for: one program in one image, and how much of the host it may see."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Request:
    """One run of a program; the options are named as Apptainer's.

    Attributes:
        action: ``run``, ``exec``, ``shell`` or ``test``.
        sif: Absolute path of the SIF file.
        fd: File descriptor of that file where it is open already, else -1.
        arguments: The command, or the arguments of the runscript.
        binds: ``SOURCE[:TARGET[:ro|rw]]``, in the order in which they are mounted.
        env: ``NAME=VALUE`` from the command line and files; later ones win.
        cleanenv: Pass nothing of the host's environment.
        contain: Empty home, /tmp and a small /dev; the current directory is not there.
        pid: Own process and IPC namespaces.
        no_home: Do not mount the home directory.
        home: ``SOURCE[:TARGET]`` instead of the user's home directory; empty for that.
        cwd: Directory in the container to start in; empty for the current one.
        writable_tmpfs: Let programs write into the image; what they write is lost at the end.
        no_eval: Pass arguments and ``env`` without evaluating them as a shell would.
        no_umask: Use 0022 instead of the caller's umask.
        shell: Shell for ``shell``; empty to look for one.
        peer_options: Options that only Apptainer and SingularityCE know.
        quiet: Say nothing that is not an error.
    """

    def __init__(self, action: str, sif: str, arguments: Sequence[str] = ()) -> None:
        self.action = action
        self.sif = sif
        self.fd = -1
        self.arguments = list(arguments)
        self.binds: list[str] = []
        self.env: list[str] = []
        self.cleanenv = False
        self.contain = False
        self.pid = False
        self.no_home = False
        self.home = ""
        self.cwd = ""
        self.writable_tmpfs = False
        self.no_eval = False
        self.no_umask = False
        self.shell = ""
        self.peer_options: list[str] = []
        self.quiet = False
