"""The request to run one program in one image, with all options."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.runtime.binds import Bind
    from sifmake.runtime.finisher import Finisher


class Request:
    """One run of a program; options have the names of Apptainer's options.

    Attributes:
        action: ``run``, ``exec``, ``shell`` or ``test``.
        sif: Absolute path of the SIF file.
        fd: File descriptor of that file if it is open already, else -1.
        arguments: The command, or the arguments of the runscript.
        binds: Paths of the host, in the order in which they are mounted.
        env: ``NAME=VALUE`` from the command line and files; later ones take precedence.
        no_env: Names of host variables not to pass.
        cleanenv: Do not pass the host's environment.
        contain: Use an empty home and /tmp and a small /dev; do not mount the current directory.
        workdir: Folder of the host for home, /tmp, /var/tmp (with ``contain``) and ``scratch``; empty for none.
        scratch: Paths in the container for folders that are empty and writable.
        no_mount: What not to mount: ``proc``, ``sys``, ``dev``, ``devpts``, ``tmp``, ``home``, ``cwd``, ``hostfs``,
            ``bind-paths``, and files of /etc by their paths.
        dns: Addresses of name servers for resolv.conf, instead of the host's.
        hostname: Host name that the program sees; empty for the real one.
        pid: Separate process namespace.
        net: Separate network namespace with only a loopback device.
        ipc: Separate namespace for inter-process communication.
        uts: Separate namespace for the host name.
        userns: Separate user namespace even for root.
        no_init: Run the program as process 1 of its namespace, without an init process that collects orphans.
        no_privs: Root gets no capabilities.
        unpack: ``True`` to unpack the image instead of mounting it, ``False`` never to, ``None`` as the last resort.
        no_home: Do not mount the home directory.
        home: ``SOURCE[:TARGET]`` instead of the user's home directory; empty for the latter.
        cwd: Directory in the container to start in; empty for the current one.
        writable_tmpfs: Let programs write to the image; changes are lost at the end.
        no_eval: Pass arguments and ``env`` without evaluating them as a shell would.
        no_umask: Use 0022 instead of the caller's umask.
        shell: Shell for ``shell``; empty to search for one.
        peer_words: The options to pass to Apptainer or SingularityCE.
        quiet: Print errors only.
        finisher: What still finishes the image in the store; it outlives the program.
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
        self.finisher: Finisher | None = None
