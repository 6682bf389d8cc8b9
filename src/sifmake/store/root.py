"""The top folder of a store: its path is resolved once, link by link, and the folder is kept open."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from sifmake.errors import StoreError
from sifmake.files import fsync_folder
from sifmake.store.folder import ENTER, Folder, FolderRules, set_mode
from sifmake.store.place import HINT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sifmake.store.trust import Trust

_MOST_LINKS = 40
"""Most links in one path, as in the kernel."""
_LINK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Root:
    """The top folder of a store.

    Attributes:
        path: The path, as the user wrote it.
        rules: Whose files are trusted, and modes of new ones.
    """

    def __init__(self, path: Path, rules: FolderRules) -> None:
        self.path = path
        self.rules = rules
        self._folder: Folder | None = None

    def open(self) -> Folder:
        """Return the folder, which this object owns.

        Raises:
            StoreError: Its path contains a link of another user.
            OSError: It does not exist or cannot be entered.
        """
        if self._folder is None:
            self._folder = Folder(_Walk(self.path, self.rules, make=False).go(), self.path, self.rules)
        return self._folder

    def reach(self, names: Sequence[str]) -> Folder:
        """Open a folder of the store; see :meth:`Folder.reach`."""
        return self.open().reach(names)

    def make(self, names: Sequence[str] = ()) -> Folder:
        """Open a folder of the store; create missing folders, even the top one if it was removed meanwhile.

        Raises:
            StoreError: It cannot be created, or its path is not a folder.
        """
        what = "made"
        try:
            if self._folder is None or not self._folder.status().st_nlink:
                self._folder = Folder(_Walk(self.path, self.rules, make=True).go(), self.path, self.rules)
            what = "written"
            return self._folder.reach(names, make=True)
        except OSError as error:
            where = error.filename or str(self.path.joinpath(*names))
            why = error.strerror or error
            raise StoreError(f"the store cannot be {what} ({why})", where=where, hint=HINT) from error


class _Walk:
    """Resolves the path of a store; follows links of root and of the user, but not those of others."""

    def __init__(self, path: Path, rules: FolderRules, *, make: bool) -> None:
        self._path = path
        self._rules = rules
        self._make = make
        self._here = os.open("/", ENTER)
        self._left = _parts(str(path))
        self._links = 0

    def go(self) -> int:
        """Return the descriptor of the folder at the end.

        Raises:
            StoreError: A link belongs to another user.
            OSError: There is no such folder.
        """
        try:
            while self._left:
                self._step(self._left.pop())
        except BaseException as error:
            os.close(self._here)
            if isinstance(error, OSError):
                error.filename = str(self._path)
            raise
        return self._here

    def _step(self, name: str) -> None:
        try:
            there = os.open(name, ENTER, dir_fd=self._here)
        except FileNotFoundError:
            if not self._make:
                raise
            there = self._made(name)
        except NotADirectoryError:
            target = self._link_target(name)
            self._left += _parts(target)
            there = os.open("/" if target.startswith("/") else ".", ENTER, dir_fd=self._here)
        os.close(self._here)
        self._here = there

    def _made(self, name: str) -> int:
        """Create a folder; the last one gets the store's mode and group."""
        access, last = self._rules.access, not self._left
        try:
            os.mkdir(name, access.root if last else 0o777, dir_fd=self._here)
        except FileExistsError:
            return os.open(name, ENTER, dir_fd=self._here)
        folder = os.open(name, ENTER, dir_fd=self._here)
        if last:
            groups = self._rules.trust.group_ids if access.writers else ()
            set_mode(folder, access.root, *groups[:1])
        fsync_folder(self._path, self._here)
        return folder

    def _link_target(self, name: str) -> str:
        self._links += 1
        link = os.open(name, _LINK, dir_fd=self._here)
        try:
            status = os.fstat(link)
            if not stat.S_ISLNK(status.st_mode) or self._links > _MOST_LINKS:
                number = errno.ENOTDIR if self._links <= _MOST_LINKS else errno.ELOOP
                raise OSError(number, os.strerror(number))
            if not _may_lead(status, os.fstat(self._here), self._rules.trust):
                what = f"the link {name} in this path belongs to user {status.st_uid}, who is not trusted"
                raise StoreError(what, where=str(self._path), hint="use the path to which the link should lead")
            return os.readlink("", dir_fd=link)
        finally:
            os.close(link)


def _may_lead(link: os.stat_result, folder: os.stat_result, trust: Trust) -> bool:
    """Tell whether to follow a link in a store's path.

    The owner of a site's store may have links in folders to which no one else can write.
    """
    writable = folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return trust.has_owner(link.st_uid) or (trust.keeper and link.st_uid == folder.st_uid and not writable)


def _parts(path: str) -> list[str]:
    """Return the names in a path, the last one first."""
    return [part for part in path.split("/") if part not in ("", ".")][::-1]
