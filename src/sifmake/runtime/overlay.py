"""Overlay layers on a private tmpfs: one that makes the image writable, or one that adds files to a folder."""

from __future__ import annotations

import os

from sifmake.runtime import system
from sifmake.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SEPARATORS = (":", ",", "\\")
"""Characters with a special meaning in the kernel's list of layers."""


class OverlayScratch:
    """A folder in our mount namespace, on which a tmpfs is mounted when it is needed.

    Attributes:
        folder: The folder; empty if there is none.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.mounted = 0

    def place(self) -> str:
        """Return a new empty folder in the tmpfs. Raises OSError if there is none."""
        if not self.folder:
            raise OSError("no folder is available for layers")
        if not self.mounted:
            system.mount("tmpfs", self.folder, "tmpfs", system.MS_NOSUID | system.MS_NODEV, "mode=0755")
        self.mounted += 1
        path = f"{self.folder}/{self.mounted}"
        os.mkdir(path, 0o755)
        return path

    def file(self, data: bytes) -> str:
        """Return the path of a new file with these bytes, readable by everyone. Raises OSError if that fails."""
        path = f"{self.place()}/file"
        _write_file(path, data)
        return path

    def writable(self, image: str) -> str:
        """Put a writable layer over the image; return the merged folder. RunError if the system cannot do that."""
        if not self.folder:
            raise RunError("--writable-tmpfs needs user namespaces, which are not allowed here", hint="leave it out")
        try:
            place = self.place()
            for name in ("upper", "work", "root"):
                os.mkdir(f"{place}/{name}", 0o755)
            options = f"lowerdir={image},upperdir={place}/upper,workdir={place}/work"
            system.mount("overlay", f"{place}/root", "overlay", 0, options)
        except OSError as error:
            raise RunError(
                f"the image cannot be made writable: {error.strerror}",
                hint="leave out --writable-tmpfs, which needs overlay mounts (Linux 5.11 for ordinary users)",
            ) from None
        return f"{place}/root"

    def adding(self, folder: str, files: Mapping[str, bytes]) -> str:
        """Put a layer with files over a folder of the image; return the merged folder. OSError if the system cannot."""
        if any(mark in folder for mark in _SEPARATORS):
            raise OSError("the folder's name has characters that the kernel treats as separators")
        place = self.place()
        layer, both = f"{place}/layer", f"{place}/both"
        status = os.stat(folder)
        os.mkdir(both)
        os.mkdir(layer)
        for name, data in files.items():
            _write_file(f"{layer}/{name}", data)
        os.chmod(layer, status.st_mode & 0o7777)
        os.utime(layer, ns=(status.st_atime_ns, status.st_mtime_ns))
        flags = system.MS_RDONLY | system.MS_NOSUID | system.MS_NODEV
        system.mount("overlay", both, "overlay", flags, f"lowerdir={layer}:{folder}")
        return both


def _write_file(path: str, data: bytes) -> None:
    """Write a file that everyone can read."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    os.fchmod(fd, 0o644)
    while data:
        data = data[os.write(fd, data) :]
    os.close(fd)


def replace_file(path: str, data: bytes) -> None:
    """Write a file, replacing a link if there is one."""
    try:  # noqa: SIM105 - importing contextlib takes 3 ms
        os.unlink(path)
    except FileNotFoundError:
        pass
    _write_file(path, data)
