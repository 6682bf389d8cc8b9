"""What a user asks for: one program in one image, and how much of the host it may see."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.runtime.binds import Bind


class Request:
    """One run of a program; the options are named as Apptainer's.

    Attributes:
        action: ``run``, ``exec``, ``shell`` or ``test``.
        sif: Absolute path of the SIF file.
        fd: File descriptor of that file where it is open already, else -1.
        arguments: The command, or the arguments of the runscript.
        binds: Paths of the host, in the order in which they are mounted.
        env: ``NAME=VALUE`` from the command line and files; later ones win.
        no_env: Names of host variables that are not passed.
        cleanenv: Pass nothing of the host's environment.
        contain: Empty home, /tmp and a small /dev; the current directory is not there.
        workdir: Folder of the host for home, /tmp, /var/tmp (with ``contain``) and ``scratch``; empty for none.
        scratch: Paths in the container for folders that are empty and can be written to.
        no_mount: What is not mounted of ``proc``, ``sys``, ``dev``, ``devpts``, ``tmp``, ``home``, ``cwd``, ``hostfs``,
            ``bind-paths`` and the files of /etc by their paths.
        dns: Addresses of name servers for resolv.conf, instead of the host's.
        hostname: Name of the host as the program sees it; empty for the real one.
        pid: Own process namespace.
        net: Own network namespace, in which there is nothing but loopback.
        ipc: Own namespace of inter-process communication.
        uts: Own namespace of the host's name.
        userns: Own user namespace for root too.
        no_init: The program is process 1 of its own process namespace, without one that waits for orphans.
        no_privs: Root has no capabilities.
        unpack: ``True`` to unpack the image instead of mounting it, ``False`` never to, ``None`` as the last resort.
        no_home: Do not mount the home directory.
        home: ``SOURCE[:TARGET]`` instead of the user's home directory; empty for that.
        cwd: Directory in the container to start in; empty for the current one.
        writable_tmpfs: Let programs write into the image; what they write is lost at the end.
        no_eval: Pass arguments and ``env`` without evaluating them as a shell would.
        no_umask: Use 0022 instead of the caller's umask.
        shell: Shell for ``shell``; empty to look for one.
        peer_words: The options as Apptainer and SingularityCE are to get them.
        quiet: Say nothing that is not an error.
    """

    def __init__(self, action: str, sif: str, fd: int = -1, arguments: Sequence[str] = ()) -> None:
        self.action = action
        self.sif = sif
        self.fd = fd
        self.arguments = list(arguments)
        self.binds: list[Bind] = []
        self.env: list[str] = []
        self.no_env: list[str] = []
        self.cleanenv = False
        self.contain = False
        self.workdir = ""
        self.scratch: list[str] = []
        self.no_mount: list[str] = []
        self.dns: list[str] = []
        self.hostname = ""
        self.pid = False
        self.net = False
        self.ipc = False
        self.uts = False
        self.userns = False
        self.no_init = False
        self.no_privs = False
        self.unpack: bool | None = None
        self.no_home = False
        self.home = ""
        self.cwd = ""
        self.writable_tmpfs = False
        self.no_eval = False
        self.no_umask = False
        self.shell = ""
        self.peer_words: list[str] = []
        self.quiet = False
