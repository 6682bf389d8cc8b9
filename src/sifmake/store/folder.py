"""Folders of a store, kept open: all work uses their descriptors, so that no link can lead it elsewhere."""

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
"""Flags for opening folders: they need no permission to list a folder, and trigger mounts of autofs."""
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without O_NONBLOCK, a FIFO would block the process for ever."""
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)


class FolderRules(NamedTuple):
    """The rules of a store.

    Attributes:
        trust: Whose files are trusted.
        access: Modes of new files and folders.
    """

    trust: Trust = Trust()
    access: Access = Access()


class Folder:
    """An open folder of a store.

    Errors of the operating system name the full path. A name is one component, and is not followed if it is a link.

    Attributes:
        path: Its path, for messages only.
        fd: The descriptor, owned by this object.
        rules: The rules of the store.
    """

    def __init__(self, fd: int, path: Path, rules: FolderRules, root: Folder | None = None) -> None:
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
        """The top folder of the store."""
        return self._root if self._root is not None else self

    def status(self) -> os.stat_result:
        """Return the present status of the folder."""
        return os.fstat(self.fd)

    def is_exposed(self) -> bool:
        """Tell whether other users can rename or replace the files in the folder."""
        return bool((self.status().st_mode | self.root.status().st_mode) & OTHERS_WRITE)

    def enter(self, name: str) -> Folder:
        """Open a folder in this one.

        Raises:
            StoreError: It is a link or a file, or belongs to a user who is not trusted.
            OSError: It does not exist or cannot be entered.
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
            raise StoreError(f"the folder is not used: {why}", where=str(path), hint="find out who put it there")
        return folder

    def make(self, name: str) -> Folder:
        """Open a folder in this one; create it if it is missing.

        Raises:
            StoreError: See :meth:`enter`.
            OSError: It cannot be created.
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
        """Return names and status of the files in the folder, sorted; files that disappear meanwhile are left out."""
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
        """Return the names of the files in the folder, sorted."""
        fd = self._listing()
        try:
            with os.scandir(fd) as entries:
                return sorted(entry.name for entry in entries)
        finally:
            os.close(fd)

    def open(self, name: str) -> int:
        """Open a regular file for reading; return its descriptor.

        Raises:
            StoreError: It is not a regular file.
            OSError: It does not exist or cannot be read.
        """
        return self._open(name, os.O_RDONLY)

    def open_mark(self, name: str) -> int:
        """Open a file without content, a lock or a stamp; create it if it is missing.

        Raises:
            StoreError: See :meth:`open`.
            OSError: It cannot be created or opened.
        """
        try:
            fd = self._open(name, os.O_RDWR)
        except FileNotFoundError:
            # Not with O_CREAT at first: in a sticky folder the kernel refuses it for a file of another user.
            fd = self._open(name, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError:
            fd = self._open(name, os.O_RDONLY)
        status = os.fstat(fd)
        mode = self.rules.access.mark(self.root.status().st_mode, stat.S_IMODE(status.st_mode))
        # A file with content was moved here by a user, who may still need it.
        if status.st_uid == os.geteuid() and not status.st_size and stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(fd, mode)
        return fd

    def why_not(self, file: os.stat_result) -> str:
        """Return why an open file in this folder is not trusted; empty if it is."""
        if self.rules.trust.has_owner(file.st_uid) and not file.st_mode & OTHERS_WRITE:
            return ""
        return self.rules.trust.why_not_file(file, self.status(), self.root.status())

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for writing that appears under its name when the block succeeds; see :func:`atomic_write`."""
        access = self.rules.access
        with atomic_write(self.path / name, access.file(0o644), at=self.fd, exact=bool(access.shared)) as file:
            yield file

    def take(self, name: str, other: Folder, new: str) -> None:
        """Move a finished file of this user from another folder of the store into this one.

        It gets the mode of the store's files if other users could not have replaced it.

        Raises:
            StoreError: It is not a regular file.
            OSError: From open, rename or fsync.
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
        """Remove a file; it is not an error if it does not exist.

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
        hint = "find out who put it there, then remove it"
        return StoreError(f"the store needs a folder here, but this is {what}", where=path, hint=hint)


def set_mode(folder: int, mode: int, group: int = -1) -> None:
    """Set the permission bits of an open folder that this process created, regardless of the umask, and its group."""
    fd = os.open(".", _LIST, dir_fd=folder)
    try:
        if group >= 0:
            os.fchown(fd, -1, group)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _named(error: OSError, path: Path) -> OSError:
    """Return an error that names the full path."""
    return OSError(error.errno, error.strerror, str(path))
