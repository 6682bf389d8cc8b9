"""Files of the host that a definition copies, checked and read by descriptor.

A file that was replaced or changed its size between check and reading is an error. If only some folders are allowed,
the real path of each descriptor is checked; no name is trusted.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from sifmake.definition.model import as_bytes
from sifmake.errors import SourceError, describe_os_error
from sifmake.layers.entry import DIR, FIFO, FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PIECE = 1 << 20
_ALLOW = "SIFMAKE_ALLOW_FILES"
_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: DIR, stat.S_IFIFO: FIFO}
_OTHERS = {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


class HostError(Exception):
    """A file of the host cannot be copied; the text says why.

    Attributes:
        hint: What to do.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class _OutsideError(HostError):
    """A file of the host is in a folder that may not be copied from."""


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file, folder or named pipe of the host, after following links.

    Attributes:
        path: As it was found.
        kind: A constant of :mod:`sifmake.layers.entry`.
        mode: Permission bits with setuid, setgid and sticky.
        size: Bytes of a file.
        mtime: Seconds.
        identity: Device and inode.
    """

    path: bytes
    kind: int
    mode: int
    size: int
    mtime: int
    identity: tuple[int, int]


class HostFolder:
    """The folder for relative sources, and the folders of the host that may be read."""

    def __init__(self, folder: Path, allowed: Sequence[Path] = (), written: Sequence[Path] = ()) -> None:
        """Use a folder for relative paths.

        Args:
            folder: The folder for relative paths.
            allowed: Files may only be copied from these folders; if there are none, from everywhere.
            written: Folders to which builds write, with links resolved; they and folders around them are not copied.
        """
        self._folder = folder
        self._allowed = [path.resolve() for path in allowed]
        self._written = written

    def home(self) -> str:
        """Return the folder that ``~`` stands for; HostError if it is unknown."""
        try:
            return str(Path.home())
        except RuntimeError:
            raise HostError("the home folder for ~ is unknown: set HOME") from None

    def names(self, path: str) -> list[str] | None:
        """Return the names in a folder; None if there is no readable folder."""
        try:
            return [name.decode("utf-8", "surrogateescape") for name in self.listed(as_bytes(path))]
        except HostError:
            return None

    def refuse(self, path: str) -> None:
        """Do nothing, or raise HostError if there is a folder that may not be copied from."""
        try:
            self.listed(as_bytes(path))
        except _OutsideError:
            raise
        except HostError:
            return

    def exists(self, path: str) -> bool:
        """Tell whether there is something at a path; a link counts, even if it is broken."""
        place = self._place(as_bytes(path))
        try:
            place.lstat()
        except (OSError, ValueError):
            return False
        return True

    def is_link(self, path: str) -> bool:
        """Tell whether there is a link at a path."""
        return self._place(as_bytes(path)).is_symlink()

    def look(self, path: bytes) -> HostFile:
        """Return the file at a path.

        Raises:
            HostError: It does not exist, is not readable, is not a file, folder or named pipe, or builds write to it.
        """
        fd = self._open(path)
        try:
            file = self._described(fd, path)
            self._check_written(fd, file)
            return file
        finally:
            os.close(fd)

    def listed(self, path: bytes) -> list[bytes]:
        """Return the sorted names in a folder.

        Raises:
            HostError: There is no folder, or it is not readable.
        """
        fd = self._open(path)
        try:
            opened = self._reopened(fd, path, os.O_DIRECTORY)
        finally:
            os.close(fd)
        try:
            with os.scandir(opened) as found:
                return sorted(os.fsencode(item.name) for item in found)
        except OSError as error:
            raise _told(error, path) from None
        finally:
            os.close(opened)

    def read(self, file: HostFile) -> Iterator[bytes]:
        """Yield the bytes of a file that was checked.

        Raises:
            SourceError: It cannot be read, or has changed.
        """
        try:
            fd = self._open(file.path)
        except HostError as error:
            raise SourceError(str(error)) from None
        try:
            if self._described(fd, file.path) != file:
                raise _changed(file)
            yield from self._pieces(fd, file)
        except HostError as error:
            raise SourceError(str(error)) from None
        finally:
            os.close(fd)

    def _pieces(self, fd: int, file: HostFile) -> Iterator[bytes]:
        left = file.size
        with os.fdopen(self._reopened(fd, file.path), "rb", buffering=0) as content:
            while piece := content.read(_PIECE):
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        if left:
            raise _changed(file)

    def _place(self, path: bytes) -> Path:
        return self._folder / os.fsdecode(path)

    def _open(self, path: bytes) -> int:
        """Return a descriptor for checks only, because opening a device or a pipe has side effects."""
        try:
            fd = os.open(self._place(path), os.O_PATH | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise _told(error, path) from None
        if self._allowed:
            try:
                self._check_allowed(fd, path)
            except BaseException:
                os.close(fd)
                raise
        return fd

    def _check_allowed(self, fd: int, path: bytes) -> None:
        real = _real(fd)
        if not any(real.is_relative_to(top) for top in self._allowed):
            what = f"{_shown(path)} is outside the folders that may be copied from: it is {real}"
            raise _OutsideError(
                what, f"move it into the project, or allow its folder: {_ALLOW}={quote(str(real.parent))}"
            )

    def _check_written(self, fd: int, file: HostFile) -> None:
        real = _real(fd) if self._written else Path()
        for folder in self._written:
            if real.is_relative_to(folder) or (file.kind == DIR and folder.is_relative_to(real)):
                what = f"{_shown(file.path)} contains what builds write, in {folder}, so no lock would fit it"
                raise HostError(what, "name the files and folders to copy one by one")

    def _described(self, fd: int, path: bytes) -> HostFile:
        found = os.fstat(fd)
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None or (path.endswith(b"/") and kind != DIR):
            raise HostError(f"{_shown(path)} is {_OTHERS.get(stat.S_IFMT(found.st_mode), 'not a folder')}")
        file = HostFile(
            path,
            kind,
            stat.S_IMODE(found.st_mode),
            found.st_size if kind == FILE else 0,
            int(found.st_mtime),
            (found.st_dev, found.st_ino),
        )
        if kind == FILE and not file.size and self._hasas_bytes(fd, path):
            raise HostError(f"{_shown(path)} has content but reports no size: copy it to a regular file first")
        return file

    def _hasas_bytes(self, fd: int, path: bytes) -> bool:
        """Tell whether a file with size 0 has content, as files of /proc do."""
        with os.fdopen(self._reopened(fd, path), "rb", buffering=0) as content:
            return bool(content.read(1))

    def _reopened(self, fd: int, path: bytes, flags: int = 0) -> int:
        try:
            return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
        except OSError as error:
            raise _told(error, path) from None


def _real(fd: int) -> Path:
    """Return where a file is, without links."""
    return Path(f"/proc/self/fd/{fd}").readlink()


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


def _told(error: OSError | ValueError, path: bytes) -> HostError:
    if isinstance(error, ValueError):
        return HostError(f"{_shown(path)} is not a path")
    return HostError(describe_os_error(OSError(error.errno, error.strerror, path)))


def _changed(file: HostFile) -> SourceError:
    what = f"{_shown(file.path)} changed while it was read"
    return SourceError(what, hint="run the command again when no process writes to it")
