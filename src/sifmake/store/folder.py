"""Folders of a store, held open: all work in one goes by its descriptor, so that no link can lead it elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self

from sifmake.errors import StoreError
from sifmake.files import atomic_write, fsync_folder
from sifmake.store.access import Access
from sifmake.store.trust import OTHERS_WRITE, Trust

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

ENTER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How folders are opened: it asks for no right to list them, and mounts what autofs has."""
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without O_NONBLOCK a FIFO would hold the process for ever."""
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)


class Rules(NamedTuple):
    """What holds everywhere in a store.

    Attributes:
        trust: Whose files are believed.
        access: Modes of what is written.
    """

    trust: Trust = Trust()
    access: Access = Access()


class Folder:
    """An open folder of a store.

    Errors of the operating system name the whole path. A name is one component and is never followed if it is a link.

    Attributes:
        path: Where it was found; for messages only.
        fd: The descriptor; belongs to this object.
        rules: The store's.
    """

    def __init__(self, fd: int, path: Path, rules: Rules, root: Folder | None = None) -> None:
        self.fd = fd
        self.path = path
        self.rules = rules
        self._root = root

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def root(self) -> Folder:
        """The store's own folder."""
        return self._root if self._root is not None else self

    def status(self) -> os.stat_result:
        """Return what the system says of the folder now."""
        return os.fstat(self.fd)

    def is_exposed(self) -> bool:
        """Tell whether others can rename what is in the folder, or put another in its place."""
        return bool((self.status().st_mode | self.root.status().st_mode) & OTHERS_WRITE)

    def enter(self, name: str) -> Folder:
        """Open a folder in this one.

        Raises:
            StoreError: It is a link or a file, or belongs to somebody who is not trusted.
            OSError: It is not there or cannot be entered.
        """
        path = self.path / name
        try:
            fd = os.open(name, ENTER, dir_fd=self.fd)
        except OSError as error:
            if error.errno in _NO_FOLDER:
                raise self._no_folder(name) from None
            raise _named(error, path) from None
        folder = Folder(fd, path, self.rules, self.root)
        status = folder.status()
        if self.rules.trust.has_owner(status.st_uid):
            return folder
        if why := self.rules.trust.why_not_folder(status, self.root.status()):
            raise StoreError(f"the folder is not used: {why}", where=str(path), hint="ask who put it there")
        return folder

    def make(self, name: str) -> Folder:
        """Open a folder in this one; make it if it is missing.

        Raises:
            StoreError: See :meth:`enter`.
            OSError: It cannot be made.
        """
        try:
            return self.enter(name)
        except FileNotFoundError:
            root = self.root.status().st_mode
        try:
            os.mkdir(name, self.rules.access.folder(root, 0o755), dir_fd=self.fd)
        except FileExistsError:
            return self.enter(name)
        except OSError as error:
            raise _named(error, self.path / name) from None
        folder = self.enter(name)
        made = stat.S_IMODE(folder.status().st_mode)
        if (mode := self.rules.access.folder(root, made)) != made:
            set_mode(folder.fd, mode)
        self.sync()
        return folder

    def reach(self, names: Iterable[str], *, make: bool = False) -> Folder:
        """Open the folder at the end of a chain of names; see :meth:`enter` and :meth:`make`."""
        here = self
        for name in names:
            here = here.make(name) if make else here.enter(name)
        return here

    def entries(self) -> list[tuple[str, os.stat_result]]:
        """Return names and states of what is in the folder, sorted; what goes away meanwhile is left out."""
        found = []
        fd = self._listing()
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        found.append((entry.name, entry.stat(follow_symlinks=False)))
        finally:
            os.close(fd)
        return sorted(found, key=lambda one: one[0])

    def names(self) -> list[str]:
        """Return the names of what is in the folder, sorted."""
        fd = self._listing()
        try:
            with os.scandir(fd) as entries:
                return sorted(entry.name for entry in entries)
        finally:
            os.close(fd)

    def open(self, name: str) -> int:
        """Open a regular file for reading; return its descriptor.

        Raises:
            StoreError: It is something else: a link, a folder, a FIFO.
            OSError: It is not there or cannot be read.
        """
        return self._open(name, os.O_RDONLY)

    def open_mark(self, name: str) -> int:
        """Open a file whose content means nothing, a lock or a stamp; make it if it is missing.

        Raises:
            StoreError: See :meth:`open`.
            OSError: It cannot be made or opened.
        """
        try:
            fd = self._open(name, os.O_RDWR)
        except FileNotFoundError:
            # Not at once: in a folder with the sticky bit the kernel refuses O_CREAT for a file of somebody else.
            fd = self._open(name, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError:
            fd = self._open(name, os.O_RDONLY)
        status = os.fstat(fd)
        mode = self.rules.access.mark(self.root.status().st_mode, stat.S_IMODE(status.st_mode))
        # One with content was moved here by somebody, who may want to read it.
        if status.st_uid == os.geteuid() and not status.st_size and stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(fd, mode)
        return fd

    def why_not(self, file: os.stat_result) -> str:
        """Say why an open file in this folder is not to be believed; empty when it is."""
        if self.rules.trust.has_owner(file.st_uid) and not file.st_mode & OTHERS_WRITE:
            return ""
        return self.rules.trust.why_not_file(file, self.status(), self.root.status())

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for writing that appears under its name when the block ends well; see :func:`atomic_write`."""
        access = self.rules.access
        with atomic_write(self.path / name, access.file(0o644), at=self.fd, exact=bool(access.shared)) as file:
            yield file

    def take(self, name: str, other: Folder, new: str) -> None:
        """Move a finished file of this user from another folder of the store into this one.

        It gets the mode of the store's files if it was written where nobody else can put another in its place.

        Raises:
            StoreError: It is not a regular file.
            OSError: As open, rename and fsync do.
        """
        fd = other.open(name)
        try:
            if not other.status().st_mode & OTHERS_WRITE:
                os.fchmod(fd, self.rules.access.file(stat.S_IMODE(os.fstat(fd).st_mode)))
        finally:
            os.close(fd)
        try:
            os.replace(name, new, src_dir_fd=other.fd, dst_dir_fd=self.fd)
        except OSError as error:
            raise _named(error, self.path / new) from None
        self.sync()

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is fine.

        Raises:
            OSError: It cannot be removed.
        """
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _named(error, self.path / name) from None

    def sync(self) -> None:
        """Make new names in the folder durable; see :func:`fsync_folder`."""
        fsync_folder(self.path, self.fd)

    def _listing(self) -> int:
        try:
            return os.open(".", _LIST, dir_fd=self.fd)
        except OSError as error:
            raise _named(error, self.path) from None

    def _open(self, name: str, flags: int, mode: int = 0) -> int:
        path = self.path / name
        try:
            fd = os.open(name, flags | _FILE, mode, dir_fd=self.fd)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                raise StoreError("it is not a regular file", where=str(path)) from None
            raise _named(error, path) from None
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise StoreError("it is not a regular file", where=str(path))

    def _no_folder(self, name: str) -> StoreError:
        path = str(self.path / name)
        try:
            is_link = stat.S_ISLNK(os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode)
        except OSError:
            is_link = False
        what = "a link" if is_link else "a file"
        hint = "nothing was done there: ask who put it there, then remove it"
        return StoreError(f"{what} stands where the store has a folder", where=path, hint=hint)


def set_mode(folder: int, mode: int, group: int = -1) -> None:
    """Give an open folder that this process has made its permission bits, whatever the umask took away, and a group."""
    fd = os.open(".", _LIST, dir_fd=folder)
    try:
        if group >= 0:
            os.fchown(fd, -1, group)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _named(error: OSError, path: Path) -> OSError:
    """Return an error with the whole path in it."""
    return OSError(error.errno, error.strerror, str(path))
