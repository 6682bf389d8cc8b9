"""Which parts of the host the container sees, and where: Apptainer's defaults and the user's wishes.

A mount point that the image lacks cannot be made in a read-only file system. So the folder in which it is missing, the
root too, becomes a fresh tmpfs into which the image's entries of that folder are mounted one by one.
"""

from __future__ import annotations

import os
import stat

from sifmake.runtime.errors import RunError
from sifmake.runtime.view import View, is_below, mode_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.runtime.caller import Caller
    from sifmake.runtime.request import Request
    from sifmake.runtime.view import Place

KERNEL_FOLDERS = ("/dev", "/proc", "/sys")
SYSTEM_FOLDERS = frozenset({"/", "/etc", "/bin", "/mnt", "/usr", "/var", "/opt", "/sbin"})
"""Current directories that are not mounted, for they would hide the image's own."""
MAX_OPENED = 2500
"""Most entries of the image that are mounted one by one (bwrap takes 9,000 words)."""


class Layout:
    """The arguments by which bwrap builds the container's file tree.

    Attributes:
        view: The tree as it will be.
        overlay: Folder of the image with a writable layer over it; empty if the image itself is mounted.
        warnings: What the user should know.
    """

    def __init__(self, view: View, *, overlay: str = "") -> None:
        self.view = view
        self.overlay = overlay
        self.warnings: list[str] = []
        self.opened: set[str] = set()
        self.steps: list[list[str]] = []

    def step(self, option: str, target: str, source: str = "") -> None:
        """Mount something; the target may be a path with links and need not exist."""
        place = self.view.resolve(target)
        if place.missing:
            self.open_up(place, target)
        self.steps.append([option, *([source] if source else []), place.path])
        self.view.add(place.path, source)

    def open_up(self, place: Place, target: str) -> None:
        """See to it that a mount point can be made."""
        if place.mounted:
            raise RunError(f"cannot mount on {target}", where=place.path, hint="make this path on the host first")
        folder = place.path
        for _name in range(place.missing):
            folder = folder.rpartition("/")[0] or "/"
        mode = self.view.mode(folder)
        if mode is None or not stat.S_ISDIR(mode):
            raise RunError(f"cannot mount on {target}", where=folder, hint="it is a file in the image")
        self.opened.add(folder)

    def is_folder(self, path: str) -> bool:
        """Whether a path will be a folder in the container."""
        place = self.view.resolve(path)
        mode = mode_of(place.host) if place.host else None
        return place.path in self.view.mounts or (mode is not None and stat.S_ISDIR(mode))

    def arguments(self) -> list[str]:
        """Return all arguments, the image's own entries first."""
        steps = [word for step in self.steps for word in step]
        if self.overlay:
            return ["--bind", self.overlay, "/", *steps]
        image = self.view.image
        words = [] if "/" in self.opened else ["--ro-bind", image, "/"]
        for folder in sorted(self.opened):
            if folder != "/":
                words += ["--tmpfs", folder]
            words += [word for entry in self.entries(folder) for word in entry]
        closing = [word for folder in sorted(self.opened) for word in ("--remount-ro", folder)]
        return [*words, *steps, *closing]

    def entries(self, folder: str) -> Iterator[list[str]]:
        """Give the steps that mount the image's entries of an opened folder."""
        entries = sorted(os.scandir(self.view.image + folder), key=lambda entry: entry.name)
        if len(entries) > MAX_OPENED:
            raise RunError(
                f"the image has {len(entries)} entries in {folder}, too many to add a mount point to it",
                hint="--writable-tmpfs can do it",
            )
        for entry in entries:
            path = f"{folder.rstrip('/')}/{entry.name}"
            if path in KERNEL_FOLDERS:
                continue
            if entry.is_symlink():
                yield ["--symlink", os.readlink(entry.path), path]
            else:
                yield ["--ro-bind", entry.path, path]


def lay_out(request: Request, layout: Layout, caller: Caller) -> str:
    """Plan all mounts and return the directory in which the program starts.

    Args:
        request: What the user asked for.
        layout: Takes the steps.
        caller: Who asked.

    Raises:
        RunError: Something that the user named cannot be mounted.
    """
    kernel_mounts(request, layout)
    scratch_mounts(request, layout)
    home_mount(request, layout, caller.home, caller.home_inside)
    if not request.contain:
        cwd_mount(layout, caller.cwd)
    for path in ("/etc/hosts", "/etc/resolv.conf", "/etc/localtime"):
        file_mount(layout, path)
    for bind in request.binds:
        user_mount(layout, bind)
    return start_folder(request, layout, caller.home_inside, caller.cwd)


def kernel_mounts(request: Request, layout: Layout) -> None:
    """Mount /dev, /proc and /sys."""
    for path in KERNEL_FOLDERS:
        mode = mode_of(layout.view.image + path)
        if mode is None or not stat.S_ISDIR(mode):
            layout.opened.add("/")
        layout.view.add(path, path)
    layout.steps.append(["--dev", "/dev"] if request.contain else ["--dev-bind", "/dev", "/dev"])
    layout.steps.append(["--proc", "/proc"] if request.pid else ["--bind", "/proc", "/proc"])
    layout.steps.append(["--bind", "/sys", "/sys"])


def scratch_mounts(request: Request, layout: Layout) -> None:
    """Mount /tmp and /var/tmp, the host's or empty ones."""
    for path in ("/tmp", "/var/tmp"):  # noqa: S108 - mount points, not files
        if layout.view.resolve(path).path in layout.view.mounts:
            continue
        if request.contain:
            layout.step("--tmpfs", path)
        elif is_folder(path):
            layout.step("--bind", path, os.path.realpath(path))


def home_mount(request: Request, layout: Layout, source: str, target: str) -> None:
    """Mount the home directory, unless it is not wanted or not there."""
    if request.no_home or target == "/":
        return
    if request.contain and not request.home:
        layout.step("--tmpfs", target)
    elif is_folder(source):
        layout.step("--bind", target, source)
    elif request.home:
        raise RunError("the home directory does not exist", where=source)


def cwd_mount(layout: Layout, cwd: str) -> None:
    """Mount the current directory if nothing else brought it."""
    if cwd in SYSTEM_FOLDERS or any(is_below(cwd, folder) for folder in KERNEL_FOLDERS):
        return
    place = layout.view.resolve(cwd)
    if place.host and same_folder(place.host, cwd):
        return
    try:
        layout.step("--bind", cwd, cwd)
    except (RunError, OSError) as error:
        layout.warnings.append(f"the current directory is not mounted: {error}")


def file_mount(layout: Layout, path: str) -> None:
    """Mount a file of the host's /etc where the image has one of that name."""
    source = os.path.realpath(path)
    inside = mode_of(layout.view.image + path)
    mode = mode_of(source)
    if inside is not None and stat.S_ISREG(inside) and mode is not None and stat.S_ISREG(mode):
        layout.step("--ro-bind", path, source)


def user_mount(layout: Layout, bind: str) -> None:
    """Mount what ``SOURCE[:TARGET[:OPTIONS]]`` says."""
    source, target, options = parse_bind(bind)
    source = os.path.realpath(source)
    if not os.path.exists(source):
        raise RunError("there is nothing to bind", where=source, hint="make it first, or correct --bind")
    layout.step("--ro-bind" if "ro" in options else "--bind", target, source)


def parse_bind(bind: str) -> tuple[str, str, list[str]]:
    """Split a bind specification; UsageError if it is not well-formed."""
    from sifmake.errors import UsageError

    parts = bind.split(":")
    options = parts[2].split("+") if len(parts) == 3 else []
    if len(parts) > 3 or not parts[0] or any(option not in ("ro", "rw") for option in options):
        raise UsageError("cannot read the bind", where=bind, hint="write SOURCE[:TARGET[:ro|rw]]")
    target = (parts[1] if len(parts) > 1 else "") or os.path.abspath(parts[0])
    if not target.startswith("/"):
        raise UsageError("the target is no absolute path", where=bind, hint="write SOURCE[:TARGET[:ro|rw]]")
    return parts[0], os.path.normpath(target), options


def start_folder(request: Request, layout: Layout, home: str, cwd: str) -> str:
    """Return the directory to start in: what was asked for, else the current one, home or the root."""
    if request.cwd:
        if layout.is_folder(request.cwd):
            return request.cwd
        raise RunError("the directory to start in is not in the container", where=request.cwd)
    for path in [home] if request.contain else [cwd, home]:
        if layout.is_folder(path):
            return path
    return "/"


def is_folder(path: str) -> bool:
    """Whether a path of the host leads to a folder."""
    return os.path.isdir(path)


def same_folder(one: str, other: str) -> bool:
    """Whether two host paths are one folder."""
    try:
        return os.path.samestat(os.stat(one), os.stat(other))
    except OSError:
        return False
