"""The container's file tree as arguments for bwrap.

A mount point that the image lacks cannot be created in a read-only file system. So the folder in which it is missing,
even the root, becomes a new tmpfs into which the image's entries of that folder are mounted one by one. If only files
have to be added or replaced, an overlay layer over the folder is cheaper.
"""

from __future__ import annotations

import os
import stat

from sifmake.runtime.container_paths import ContainerPaths, mode_of
from sifmake.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.runtime.container_paths import ResolvedPath

KERNEL_FOLDERS = ("/dev", "/proc", "/sys")
_MAX_OPENED = 2500
"""Most entries of the image that are mounted one by one (bwrap takes 9,000 words)."""


class BwrapPlan:
    """The arguments with which bwrap builds the container's file tree.

    Attributes:
        view: The planned tree.
        overlay: Folder of the image with a writable layer over it; empty if the image itself is mounted.
        warnings: Warnings for the user.
        contents: Files to mount over files of the image: paths and contents.
        added: Files that the image lacks, or has as something else: paths and contents.
        layered: Folders of the image with a layer over them: their paths, and the merged folders.
    """

    def __init__(self, view: ContainerPaths, *, overlay: str = "") -> None:
        self.view = view
        self.overlay = overlay
        self.warnings: list[str] = []
        self.opened: set[str] = set()
        self.steps: list[list[str]] = []
        self.contents: dict[str, bytes] = {}
        self.added: dict[str, bytes] = {}
        self.layered: dict[str, str] = {}

    def step(self, option: str, target: str, source: str = "") -> None:
        """Plan a mount; the target may contain links and need not exist."""
        place = self.view.resolve(target)
        if place.missing:
            self.open_up(place, target)
        self.steps.append([option, *([source] if source else []), place.path])
        self.view.add(place.path, source)

    def open_up(self, place: ResolvedPath, target: str) -> None:
        """Make it possible to create a mount point."""
        if place.mounted and self.view.where(place.path)[0]:
            raise RunError(f"cannot mount on {target}", where=place.path, hint="create this path on the host first")
        if place.mounted:  # bwrap creates it in a new, empty folder
            return
        folder = place.path
        for _name in range(place.missing):
            folder = folder.rpartition("/")[0] or "/"
        mode = self.view.mode(folder)
        if mode is None or not stat.S_ISDIR(mode):
            raise RunError(
                f"cannot mount on {target}", where=folder, hint="choose another target: this one is a file in the image"
            )
        self.opened.add(folder)

    def put(self, path: str, data: bytes) -> None:
        """Give a file these bytes, whatever the image has in its place; a link is replaced.

        Do nothing if the image lacks the folder, or something else is mounted there.
        """
        folder, _slash, name = path.rpartition("/")
        place = self.view.resolve(folder)
        target = f"{place.path.rstrip('/')}/{name}"
        if place.missing or place.mounted or target in self.view.mounts:
            return
        mode = mode_of(place.host + "/" + name)
        if mode is not None and stat.S_ISREG(mode):
            self.contents[target] = data
        elif mode is None or not stat.S_ISDIR(mode):
            self.added[target] = data

    def layers(self) -> dict[str, dict[str, bytes]]:
        """Return the folders of the image that need a layer, with the files in it: names and contents."""
        folders: dict[str, dict[str, bytes]] = {}
        for path, data in self.added.items():
            folder, _slash, name = path.rpartition("/")
            if (folder or "/") not in self.opened:
                folders.setdefault(folder or "/", {})[name] = data
        return folders

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files that bwrap has to create: paths and contents."""
        yield from self.contents.items()
        if not self.overlay:
            yield from (item for item in self.added.items() if item[0].rpartition("/")[0] not in self.layered)

    def is_folder(self, path: str) -> bool:
        """Whether a path will be a folder in the container."""
        place = self.view.resolve(path)
        mode = mode_of(place.host) if place.host else None
        return place.path in self.view.mounts or (mode is not None and stat.S_ISDIR(mode))

    def arguments(self, files: list[str]) -> list[str]:
        """Return all arguments, the image's own entries first.

        Args:
            files: The arguments that create ``files()``; they come before everything that is mounted over the image.
        """
        steps = [*files, *(word for step in self.steps for word in step)]
        if self.overlay:
            return ["--bind", self.overlay, "/", *steps]
        words = [] if "/" in self.opened else ["--ro-bind", self.view.image, "/"]
        for folder in sorted(self.opened | self.layered.keys()):
            if folder in self.layered:
                words += ["--ro-bind", self.layered[folder], folder]
                continue
            if folder != "/":
                words += ["--tmpfs", folder]
            words += [word for entry in self.entries(folder) for word in entry]
        closing = [word for folder in sorted(self.opened) for word in ("--remount-ro", folder)]
        return [*words, *steps, *closing]

    def entries(self, folder: str) -> Iterator[list[str]]:
        """Yield the steps that mount the image's entries of an opened folder."""
        entries = sorted(os.scandir(self.view.image + folder), key=lambda entry: entry.name)
        if len(entries) > _MAX_OPENED:
            raise RunError(
                f"the image has {len(entries)} entries in {folder}, too many to add a mount point to it",
                hint="use --writable-tmpfs",
            )
        for entry in entries:
            path = f"{folder.rstrip('/')}/{entry.name}"
            if path in self.added or (path in KERNEL_FOLDERS and path in self.view.mounts):
                continue
            if entry.is_symlink():
                yield ["--symlink", os.readlink(entry.path), path]
            else:
                yield ["--ro-bind", entry.path, path]
