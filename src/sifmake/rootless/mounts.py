"""What a script sees besides the tree: devices, /proc, /sys, private temporary folders, secrets, the caller's binds.

Everything is mounted before the first program of the tree runs, so that no program can change the paths meanwhile.
Symlinks of the tree are followed inside it.
"""

from __future__ import annotations

import os
import stat

from sifmake.rootless import kernel
from sifmake.rootless.errors import RootlessError
from sifmake.rootless.script import AFTER, BEFORE, LABELS, SCRIPT
from sifmake.runtime.container_paths import ContainerPaths, is_below, mode_of
from sifmake.runtime.rootfs import DEVICES
from sifmake.runtime.system import MS_NODEV, MS_NOSUID, MS_RDONLY, mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.rootless.plan import Plan

_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_FIXED = ("sys", "sysrq-trigger", "irq", "bus", "fs")
"""Files in /proc that must not be written: the host's root could do so even without capabilities."""
_HIDDEN = ("kcore", "keys", "timer_list", "latency_stats", "sched_debug", "acpi", "scsi")
"""Files that reveal too much about the host."""
_NONE = MS_NOSUID | MS_NODEV
_NEEDED = frozenset({"/", SCRIPT, BEFORE, AFTER, LABELS, "/dev", *(f"/dev/{name}" for name in DEVICES)})
"""Paths at which nothing can be bound; the shell writes to /dev/null, so it would write to a file of the host."""
_QUIET = MS_NOSUID | MS_NODEV | kernel.MS_NOEXEC
_GROUP_TTY = 5
_STICKY = stat.S_ISVTX | stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO
_TEMPORARY = ("tmp", "var/tmp")
_APT = b'APT::Sandbox::User "root";\n'
"""Settings for apt, which checks whether it really has the ids that it switched to."""
_APT_FOLDER, _APT_FILE = "/etc/apt/apt.conf.d", "/etc/apt/apt.conf.d/99-sifmake-sandbox"


class Mounts:
    """Mounts things over a tree.

    Args:
        root: The tree.
        plan: What to mount.
        sandboxes: Whether programs can become other users, or believe they did.

    Attributes:
        made: Paths, without leading slash, of files and folders that were created as mount points.
    """

    def __init__(self, root: str, plan: Plan, *, sandboxes: bool) -> None:
        self.made: list[str] = []
        self._root = root
        self._place = plan.place
        self._sandboxes = sandboxes
        self._plan = plan
        self._paths = ContainerPaths(root)

    def prepare(self) -> None:
        """Create all mount points, so that they are known before another process mounts."""
        for name in ("proc", "sys", "dev", *_TEMPORARY):
            self._target(f"/{name}", folder=True)
        for name in ("resolv.conf", "hosts"):
            self._target(f"/etc/{name}", folder=False)
        for source, target, _ in self._plan.binds:
            self._bind_target(source, target)
        if self._plan.secrets:
            self._target("/run/secrets", folder=True)
        if self._quiets_apt():
            self._target(_APT_FILE, folder=False)

    def mount_all(self) -> None:
        """Mount everything. Raises OSError or RootlessError if that fails."""
        self._proc(self._target("/proc", folder=True))
        self._sys(self._target("/sys", folder=True))
        self._devices(self._target("/dev", folder=True))
        for number, name in enumerate(_TEMPORARY):
            self._temporary(f"{self._place}/scratch{number}", self._target(f"/{name}", folder=True))
        bound = {target for _, target, _ in self._plan.binds}
        for name in ("resolv.conf", "hosts"):
            if f"/etc/{name}" not in bound:
                kernel.bind(self._copy_of_host(name), self._target(f"/etc/{name}", folder=False), flags=_NONE)
        if self._quiets_apt():
            kernel.bind(self._file("apt", _APT), self._target(_APT_FILE, folder=False), flags=_NONE, read_only=True)
        for source, target, read_only in self._plan.binds:
            self._bind(source, target, read_only=read_only)
        if self._plan.secrets:
            self._secrets(self._target("/run/secrets", folder=True))

    def _bind(self, source: str, target: str, *, read_only: bool) -> None:
        path = self._bind_target(source, target)
        try:
            kernel.bind(source, path, flags=_NONE, read_only=read_only)
        except OSError as error:
            raise _refused(source, target, error.strerror or str(error)) from None

    def _bind_target(self, source: str, target: str) -> str:
        """Return the host's path of the mount point of a bind, which is created if it is missing.

        Raises:
            RootlessError: It cannot be created, or a script cannot run with something else there.
        """
        try:
            path = self._target(target, folder=os.path.isdir(source))
        except OSError as error:
            raise _refused(source, target, error.strerror or str(error)) from None
        inside = os.path.normpath(path.removeprefix(self._root) or "/")
        if inside in _NEEDED or is_below(inside, "/proc"):
            raise _refused(source, target, "the script could not run")
        return path

    def _quiets_apt(self) -> bool:
        return not self._sandboxes and os.path.isdir(self._root + _APT_FOLDER)

    def _proc(self, target: str) -> None:
        try:
            mount("proc", target, "proc", _QUIET)
        except OSError as error:
            raise RootlessError(
                f"/proc of a process namespace cannot be mounted: {error.strerror}",
                hint="if this is a container, start it with an unmasked /proc "
                "(docker: --security-opt systempaths=unconfined)",
            ) from None
        for name in _FIXED:
            if os.path.exists(f"{target}/{name}"):
                kernel.bind(f"{target}/{name}", f"{target}/{name}", read_only=True)
        for name in _HIDDEN:
            self._hide(f"{target}/{name}")

    def _hide(self, path: str) -> None:
        kind = mode_of(path)
        if kind is not None and stat.S_ISDIR(kind):
            mount("tmpfs", path, "tmpfs", _QUIET | MS_RDONLY, "size=0")
        elif kind is not None:
            kernel.bind("/dev/null", path, read_only=True)

    def _sys(self, target: str) -> None:
        try:
            mount("sysfs", target, "sysfs", _QUIET | MS_RDONLY)
        except OSError:  # the network, and so part of /sys, belongs to another namespace
            kernel.bind("/sys", target, read_only=True)
        self._hide(f"{target}/firmware")

    def _devices(self, target: str) -> None:
        mount("tmpfs", target, "tmpfs", _NONE | kernel.MS_NOEXEC, "mode=0755,size=1m")
        for name in DEVICES:
            if os.path.exists(f"/dev/{name}"):
                _touch(f"{target}/{name}")
                # They are the host's own: root of the host could give them other modes, owners and times.
                kernel.bind(f"/dev/{name}", f"{target}/{name}", read_only=True)
        for name, text in _LINKS.items():
            os.symlink(text, f"{target}/{name}")
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(f"{target}/{name}", 0o755)
        self._terminals(f"{target}/pts")
        mount("tmpfs", f"{target}/shm", "tmpfs", _QUIET, "mode=1777")
        try:
            mount("mqueue", f"{target}/mqueue", "mqueue", _QUIET)
        except OSError:  # not every kernel has them
            os.rmdir(f"{target}/mqueue")

    def _terminals(self, target: str) -> None:
        options = "newinstance,ptmxmode=0666,mode=0620"
        try:
            mount("devpts", target, "devpts", MS_NOSUID | kernel.MS_NOEXEC, f"{options},gid={_GROUP_TTY}")
        except OSError:  # the namespace has no such group
            mount("devpts", target, "devpts", MS_NOSUID | kernel.MS_NOEXEC, options)

    def _temporary(self, folder: str, target: str) -> None:
        if folder not in self._paths.mounts.values() and os.path.ismount(target):
            return  # /var/tmp is a link to /tmp
        os.mkdir(folder)
        os.chmod(folder, _STICKY)
        kernel.bind(folder, target, flags=_NONE)

    def _copy_of_host(self, name: str) -> str:
        try:
            with open(f"/etc/{name}", "rb") as file:
                data = file.read(1 << 20)
        except OSError:
            data = b""
        return self._file(name, data)

    def _file(self, name: str, data: bytes) -> str:
        """Return the path of a new file of this run."""
        path = f"{self._place}/{name}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.chmod(path, 0o644)
        return path

    def _secrets(self, target: str) -> None:
        mount("tmpfs", target, "tmpfs", _QUIET, "mode=0755")
        for name, value in self._plan.secrets.items():
            fd = os.open(f"{target}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
            with os.fdopen(fd, "wb") as file:
                file.write(value)
        kernel.make_read_only(target)

    def _target(self, path: str, *, folder: bool) -> str:
        """Return the host's path for a path in the tree, which is created if it is missing."""
        place = self._paths.resolve(path)
        names = place.path.strip("/").split("/")
        for count in range(len(names) - place.missing + 1, len(names) + 1):
            name = "/".join(names[:count])
            self._make(name, folder=folder or count < len(names))
        return self._root + place.path

    def _make(self, name: str, *, folder: bool) -> None:
        """Create missing components, without changing the time of the folder that contains them."""
        path = f"{self._root}/{name}"
        above = path.rpartition("/")[0]
        status = os.stat(above)
        os.mkdir(path) if folder else _touch(path)
        os.chmod(path, 0o755 if folder else 0o644)
        os.utime(above, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.made.append(name)


def _refused(source: str, target: str, why: str) -> RootlessError:
    return RootlessError(f"{source} cannot be bound to {target}: {why}", hint="name another path in --bind")


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))
