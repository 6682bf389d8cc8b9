"""Listing the files of a store."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.errors import StoreError
from sifmake.store.folder import Folder, FolderRules
from sifmake.store.naming import BLOBS, KINDS, LOCKS, SCRATCH, STAMP
from sifmake.store.root import Root
from sifmake.store.trust import OTHERS_WRITE
from sifmake.temporaries import TEMP_PREFIX, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OWN_NAME = re.compile(r"[0-9a-f]{64}")
"""Pattern of the names that sifmake gives to finished files."""


@dataclass(frozen=True)
class Item:
    """One finished file of a store.

    Attributes:
        kind: A value of :data:`~sifmake.store.naming.KINDS`.
        name: Digest of a blob (``sha256:...``), else the file's name.
        path: The file, for messages.
        place: Its path inside the store.
        size: Bytes.
        used: Last use in seconds since 1970, to the hour.
        owner: User id; -1 if unknown.
        root: The store, open.
    """

    kind: str
    name: str
    path: Path
    place: str
    size: int
    used: float
    owner: int = field(default=-1, compare=False)
    root: Folder | None = field(default=None, compare=False, repr=False)

    def folder(self) -> Folder:
        """Open the folder of the file.

        Raises:
            StoreError: It is not a folder.
            OSError: It does not exist.
        """
        if self.root is None:
            raise StoreError("the file is not in a store", where=str(self.path))
        return self.root.reach(self.place.split("/")[:-1])

    def open(self) -> int:
        """Open the file for reading; return its descriptor.

        Raises:
            StoreError: It is not a regular file.
            OSError: It cannot be read.
        """
        with self.folder() as folder:
            return folder.open(self.path.name)

    def read(self, largest: int) -> bytes:
        """Return up to that many bytes of the file; see :meth:`open`."""
        with os.fdopen(self.open(), "rb") as file:
            return file.read(largest)

    def why_not(self) -> str:
        """Return why the file is not trusted; empty if it is. Blobs are always trusted because of their digest."""
        try:
            with self.folder() as folder:
                fd = folder.open(self.path.name)
                try:
                    return folder.why_not(os.fstat(fd)) if self.kind != "blob" else ""
                finally:
                    os.close(fd)
        except StoreError as error:
            return error.what
        except OSError as error:
            return error.strerror or str(error)

    def is_gone(self) -> bool:
        """Tell whether the file was removed since it was listed."""
        try:
            os.close(self.open())
        except FileNotFoundError:
            return True
        except (OSError, StoreError):
            return False
        return False

    def is_held(self) -> bool:
        """Tell whether a running build has the file open; see :meth:`sifmake.store.stored_files.StoredFiles.open`."""
        try:
            fd = self.open()
        except (OSError, StoreError):
            return False
        try:
            return try_lock(fd) is False
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Remove the file; it is not an error if it is already gone.

        Raises:
            StoreError: The path of its folder is not a folder.
            OSError: It cannot be removed.
        """
        try:
            with self.folder() as folder:
                folder.remove(self.path.name)
        except FileNotFoundError:
            return


@dataclass(frozen=True)
class Stray:
    """Something in a store that does not belong there, and is left in place.

    Attributes:
        path: Its path.
        why: What is wrong with it.
    """

    path: Path
    why: str


def list_items(root: Path, *folders: str, rules: FolderRules | None = None) -> Iterator[Item]:
    """Yield the finished files of a store, or of some of its folders; files that disappear meanwhile are left out.

    Args:
        root: The store.
        folders: Keys of :data:`~sifmake.store.naming.KINDS`; by default all.
        rules: FolderRules of the store; None for a store that is not shared.
    """
    return (one for one in walk(root, *folders, rules=rules) if isinstance(one, Item))


def walk(root: Path, *folders: str, rules: FolderRules | None = None) -> Iterator[Item | Stray]:
    """Yield the files of :func:`list_items`, and things in a store that do not belong there.

    Raises:
        StoreError: The path of the store contains a link of another user.
    """
    try:
        top = Root(root, rules or FolderRules()).open()
    except OSError:
        return
    for name in folders or KINDS:
        yield from _walk(top, name, KINDS[name], 3 if name == BLOBS else 2)


def list_odd_marks(root: Path, rules: FolderRules) -> Iterator[Stray]:
    """Yield things that do not belong at the paths of locks, of the sweep stamp and of the temporary folder.

    Raises:
        StoreError: See :func:`walk`.
    """
    try:
        top = Root(root, rules).open()
    except OSError:
        return
    for path, name in ((top.path, SCRATCH), (top.path, LOCKS)):
        try:
            with top.enter(name) as folder:
                entries = folder.entries() if name == LOCKS else []
                yield from (_odd(folder.path / entry) for entry, status in entries if not stat.S_ISREG(status.st_mode))
        except StoreError as error:
            yield Stray(path / name, error.what)
        except OSError:
            continue
    try:
        os.close(top.open(STAMP))
    except StoreError:
        yield _odd(top.path / STAMP)
    except OSError:
        return


def _odd(path: Path) -> Stray:
    return Stray(path, "it is not a regular file")


def _walk(parent: Folder, name: str, kind: str, depth: int) -> Iterator[Item | Stray]:
    try:
        with parent.enter(name) as folder:
            for entry, status in folder.entries():
                if not stat.S_ISDIR(status.st_mode) and depth == 1:
                    yield from _file(folder, entry, status, kind)
                elif not entry.startswith(TEMP_PREFIX):
                    yield from _walk(folder, entry, kind, depth - 1) if depth > 1 else _no_file(folder, entry)
    except FileNotFoundError:
        return
    except StoreError as error:
        yield Stray(parent.path / name, error.what)
    except OSError as error:
        yield Stray(parent.path / name, error.strerror or str(error))


def _no_file(folder: Folder, name: str) -> Iterator[Stray]:
    yield Stray(folder.path / name, "it is a folder, but the store needs a file here")


def _file(folder: Folder, entry: str, status: os.stat_result, kind: str) -> Iterator[Item | Stray]:
    """Yield a file; if other users could have moved a folder here, only a file with a name that the store gives."""
    if entry.startswith(TEMP_PREFIX):
        return
    path = folder.path / entry
    named = _OWN_NAME.match(entry) and entry.startswith(folder.path.name)
    if not named and folder.status().st_mode & OTHERS_WRITE:
        yield Stray(path, "the store does not use such names")
        return
    name = f"{path.parent.parent.name}:{entry}" if kind == "blob" else entry
    place = path.relative_to(folder.root.path)
    yield Item(kind, name, path, str(place), status.st_size, status.st_mtime, status.st_uid, folder.root)
