"""The parts of the host that the container sees: Apptainer's defaults and the user's options."""

from __future__ import annotations

import os
import stat

from sifmake.runtime.bwrap_plan import KERNEL_FOLDERS
from sifmake.runtime.container_paths import is_below, mode_of
from sifmake.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.binds import Bind
    from sifmake.runtime.bwrap_plan import BwrapPlan
    from sifmake.runtime.caller import Caller
    from sifmake.runtime.request import Request

_SYSTEM_FOLDERS = frozenset({"/", "/etc", "/bin", "/mnt", "/usr", "/var", "/opt", "/sbin"})
"""Current directories that are not mounted, because they would hide those of the image."""
_HOST_FILES = ("/etc/hosts", "/etc/resolv.conf", "/etc/localtime")
_UNMOUNTABLE = frozenset({"proc", "sys", "dev", "devpts", "tmp", "home", "cwd", "hostfs", "bind-paths"})
"""The words that ``--no-mount`` accepts, besides paths."""
_GUARDED = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi")
"""Files in /proc that change the host."""
_NETWORKS = ("/sys/class/net", "/sys/devices/virtual/net")
"""The host's network devices, which a container with a network of its own does not have."""
_MAX_HOST_FILE = 1 << 20
"""Most bytes of a file of /etc."""
_TEMPORARY = (("/tmp", "tmp"), ("/var/tmp", "var_tmp"))  # noqa: S108 - mount points, not files
"""Temporary folders, and their names in the working directory."""


def lay_out(request: Request, layout: BwrapPlan, caller: Caller) -> str:
    """Plan all mounts and return the directory in which the program starts.

    Args:
        request: The request.
        layout: The plan, to which the steps are added.
        caller: The user who runs it.

    Raises:
        RunError: A path that the user named cannot be mounted.
        UsageError: A value is malformed.
    """
    layout.warnings += [f"there is no mount named {name}" for name in request.no_mount if not _is_mount(name)]
    _kernel_mounts(request, layout)
    if request.no_privs and caller.uid == 0:
        _guard_kernel(request, layout)
    if request.net and "sys" not in request.no_mount:
        for path in _NETWORKS:
            if os.path.isdir(path):
                layout.step("--tmpfs", path)
    _temporary_mounts(request, layout)
    _home_mount(request, layout, caller.home, caller.home_inside)
    _scratch_mounts(request, layout)
    if not request.contain and "cwd" not in request.no_mount:
        _cwd_mount(layout, caller.cwd)
    _host_files(request, layout)
    bound: set[str] = set()
    for bind in request.binds:
        _user_mount(layout, bind, bound)
    return _start_folder(request, layout, caller.home_inside, caller.cwd)


def _is_mount(name: str) -> bool:
    """Whether ``--no-mount`` knows a name."""
    return name in _UNMOUNTABLE or name.startswith("/")


def _kernel_mounts(request: Request, layout: BwrapPlan) -> None:
    """Mount /dev, /proc and /sys."""
    steps = {
        "/dev": ["--dev", "/dev"] if request.contain else ["--dev-bind", "/dev", "/dev"],
        "/proc": ["--proc", "/proc"] if request.pid else ["--bind", "/proc", "/proc"],
        "/sys": ["--bind", "/sys", "/sys"],
    }
    for path in KERNEL_FOLDERS:
        if path[1:] in request.no_mount:
            continue
        mode = mode_of(layout.view.image + path)
        if mode is None or not stat.S_ISDIR(mode):
            layout.opened.add("/")
        layout.view.add(path, path)
        layout.steps.append(steps[path])
    if request.contain and "devpts" in request.no_mount and "dev" not in request.no_mount:
        layout.steps.append(["--tmpfs", "/dev/pts"])


def _guard_kernel(request: Request, layout: BwrapPlan) -> None:
    """Keep root, to whom the kernel's files belong even without capabilities, from writing to them."""
    paths = ["/sys"] if "sys" not in request.no_mount else []
    paths += [f"/proc/{name}" for name in _GUARDED] if "proc" not in request.no_mount else []
    for path in paths:
        if os.path.exists(path):
            layout.step("--ro-bind", path, path)


def _temporary_mounts(request: Request, layout: BwrapPlan) -> None:
    """Mount /tmp and /var/tmp: those of the host, empty ones, or those in the working directory."""
    if "tmp" in request.no_mount:
        return
    for path, name in _TEMPORARY:
        if layout.view.resolve(path).path in layout.view.mounts:
            continue
        if request.contain and request.workdir:
            layout.step("--bind", path, _kept_folder(request.workdir, name, 0o1777))
        elif request.contain:
            layout.step("--tmpfs", path)
        elif _is_folder(path):
            layout.step("--bind", path, os.path.realpath(path))


def _kept_folder(workdir: str, name: str, mode: int) -> str:
    """Return a folder in the working directory, created if it is missing. RunError if that fails."""
    path = os.path.realpath(workdir)
    try:
        for part in name.split("/"):
            path = f"{path}/{part}"
            if not os.path.isdir(path):
                os.mkdir(path)
                os.chmod(path, mode)
    except OSError as error:
        raise RunError(
            f"the working directory cannot be used: {error.strerror}",
            where=path,
            hint="create it, or correct --workdir",
        ) from None
    return path


def _home_mount(request: Request, layout: BwrapPlan, source: str, target: str) -> None:
    """Mount the home directory unless an option says not to; mount an empty one if there is none."""
    if request.no_home or "home" in request.no_mount or target == "/":
        return
    if request.contain and not request.home and request.workdir:
        layout.step("--bind", target, _kept_folder(request.workdir, "home", 0o700))
    elif (request.contain and not request.home) or not _is_folder(source):
        layout.step("--tmpfs", target)
    else:
        layout.step("--bind", target, source)


def _scratch_mounts(request: Request, layout: BwrapPlan) -> None:
    """Mount new folders that are empty and writable."""
    for path in request.scratch:
        if not path.startswith("/"):
            raise RunError("the path of a scratch folder must be absolute", where=path)
        target = os.path.normpath(path)
        if request.workdir:
            layout.step("--bind", target, _kept_folder(request.workdir, f"scratch{target}", 0o750))
        else:
            layout.step("--tmpfs", target)


def _cwd_mount(layout: BwrapPlan, cwd: str) -> None:
    """Mount the current directory unless another mount contains it."""
    if cwd in _SYSTEM_FOLDERS or any(is_below(cwd, folder) for folder in KERNEL_FOLDERS):
        return
    place = layout.view.resolve(cwd)
    if place.host and _same_folder(place.host, cwd):
        return
    try:
        layout.step("--bind", cwd, cwd)
    except (RunError, OSError) as error:
        layout.warnings.append(f"the current directory is not mounted: {error}")


def _host_files(request: Request, layout: BwrapPlan) -> None:
    """Give the container the host's name service and time zone, or those that options ask for."""
    for path in _HOST_FILES:
        if path in request.no_mount or "bind-paths" in request.no_mount:
            continue
        if request.dns and path == "/etc/resolv.conf":
            layout.put(path, _name_servers(request.dns))
        else:
            _file_mount(layout, path)
    if request.hostname:
        layout.put("/etc/hostname", f"{request.hostname}\n".encode())


def _file_mount(layout: BwrapPlan, path: str) -> None:
    """Mount a file of the host's /etc; if the image has a link or nothing at that path, add a copy."""
    source = os.path.realpath(path)
    mode, inside = mode_of(source), mode_of(layout.view.image + path)
    if mode is None or not stat.S_ISREG(mode):
        return
    if inside is not None and stat.S_ISREG(inside):
        layout.step("--ro-bind", path, source)
        return
    with open(source, "rb") as file:
        layout.put(path, file.read(_MAX_HOST_FILE))


def _name_servers(addresses: list[str]) -> bytes:
    """Return the text of a resolv.conf. UsageError if a word is not an address."""
    import ipaddress

    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            from sifmake.errors import UsageError

            raise UsageError("not an IP address", where=address, hint="write --dns ADDRESS[,ADDRESS...]") from None
    return "".join(f"nameserver {address}\n" for address in addresses).encode()


def _user_mount(layout: BwrapPlan, bind: Bind, bound: set[str]) -> None:
    """Mount a path that the user asked for; of two with the same target the first wins, as with Apptainer."""
    target = os.path.normpath(bind.target)
    source = os.path.realpath(bind.source)
    if bind.data:
        raise RunError(
            "only apptainer and singularity can bind files inside an image",
            where=bind.given,
            hint="unpack it, and bind the folder",
        )
    if not os.path.exists(source):
        raise RunError("the path to bind does not exist", where=bind.given, hint="create it first, or correct --bind")
    if target in bound:
        layout.warnings.append(f"{source} is not mounted on {target}, because another path is")
        return
    bound.add(target)
    layout.step("--ro-bind" if bind.readonly else "--bind", target, source)


def _start_folder(request: Request, layout: BwrapPlan, home: str, cwd: str) -> str:
    """Return the directory to start in: the requested one, else the current directory, home or the root."""
    if request.cwd:
        wanted = os.path.normpath(os.path.join("/", request.cwd))
        if layout.is_folder(wanted):
            return wanted
        raise RunError("the working directory does not exist in the container", where=request.cwd)
    for path in [home] if request.contain else [cwd, home]:
        if layout.is_folder(path):
            return path
    return "/"


def _is_folder(path: str) -> bool:
    """Whether a path on the host leads to a folder."""
    return os.path.isdir(path)


def _same_folder(one: str, other: str) -> bool:
    """Whether two host paths lead to the same folder."""
    try:
        return os.path.samestat(os.stat(one), os.stat(other))
    except OSError:
        return False
