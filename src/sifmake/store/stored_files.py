"""Files of a writable store and of those under it, by where they stand: opened if they are believed, put in place."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from sifmake.errors import StoreError
from sifmake.store.naming import SCRATCH, STAMP
from sifmake.store.trust import DAY, SKEW, renew
from sifmake.temporaries import hold, sweep_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sifmake.progress import Progress
    from sifmake.store.folder import Folder
    from sifmake.store.naming import Spot
    from sifmake.store.root import Root


class Found(NamedTuple):
    """A file of a store that is believed.

    Attributes:
        path: Where it stands; for messages.
        fd: The file itself, open for reading; belongs to whoever got it.
        exposed: Whether others can give its name to another file of the same owner.
    """

    path: Path
    fd: int
    exposed: bool = False

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


class StoredFiles:
    """Files of all stores.

    Attributes:
        own: The writable store.
        roots: That one, then the read-only ones.
    """

    def __init__(self, own: Root, read_only: Sequence[Root], progress: Progress) -> None:
        self.own = own
        self.roots = (own, *read_only)
        self._progress = progress
        self._told: set[str] = set()

    def open(self, root: Root, spot: Spot, *, anyone: bool = False, renewed: bool = True) -> Found | None:
        """Return a file of one store if it is there and believed; what is not is a warning.

        As long as it is open, ``gc`` and ``clean`` leave it alone if it is the writable store's, where locks work.

        Args:
            root: The store.
            spot: Where it stands there.
            anyone: Whether it is believed whoever owns it: then its content has to be checked.
            renewed: Whether this is a use, which keeps it young.
        """
        try:
            folder = root.reach(spot.folders)
        except StoreError as error:
            self._warn_once(str(error))
            return None
        except OSError:
            return None
        with folder, ExitStack() as refused:
            try:
                fd = folder.open(spot.name)
                refused.callback(os.close, fd)
                status = os.fstat(fd)
                why = "" if anyone else folder.why_not(status)
            except StoreError as error:
                why = error.what
            except OSError:
                return None
            path = spot.under(root.path)
            if why:
                self._progress.warning(f"{path} is not used: {why}")
                return None
            if root is self.own:
                if renewed:
                    renew(fd, status)
                hold(fd)
            refused.pop_all()
            return Found(path, fd, folder.is_exposed())

    def read(self, root: Root, spot: Spot, largest: int, *, anyone: bool = False) -> bytes | None:
        """Return the content of a small file, up to one byte more than ``largest``; see :meth:`open`."""
        found = self.open(root, spot, anyone=anyone)
        if found is None:
            return None
        try:
            with os.fdopen(found.fd, "rb") as file:
                return file.read(largest + 1)
        except OSError:
            return None

    def entries(self, root: Root, folders: Sequence[str]) -> list[tuple[str, os.stat_result]]:
        """Return names and states in a folder of one store; none where it is not there or cannot be looked into."""
        try:
            with root.reach(folders) as folder:
                return folder.entries()
        except StoreError as error:
            self._warn_once(str(error))
        except OSError:
            pass
        return []

    def names(self, root: Root, folders: Sequence[str]) -> list[str]:
        """Return the names in a folder of one store; see :meth:`entries`."""
        try:
            with root.reach(folders) as folder:
                return folder.names()
        except StoreError as error:
            self._warn_once(str(error))
        except OSError:
            pass
        return []

    @contextmanager
    def writing(self, spot: Spot) -> Iterator[BinaryIO]:
        """Open a file of the writable store that gets its place when the block ends well.

        Raises:
            StoreError: Its folder cannot be made.
            OSError: As writing does.
        """
        with self.own.make(spot.folders) as folder:
            _sweep_daily(folder.root)
            with folder.writing(spot.name) as file:
                yield file

    def keep(self, spot: Spot, data: bytes) -> None:
        """Write a small file unless it is there already; a store that takes none is left alone with a warning."""
        if self.read(self.own, spot, len(data)) == data:
            return
        try:
            with self.own.make(spot.folders) as folder, folder.writing(spot.name) as file:
                file.write(data)
        except (OSError, StoreError) as error:
            self._progress.warning(f"the store keeps nothing: {error}")

    def remove(self, spot: Spot) -> None:
        """Remove a file of the writable store if that can be done."""
        with suppress(OSError, StoreError), self.own.reach(spot.folders) as folder:
            folder.remove(spot.name)

    def scratch(self) -> Folder:
        """Open the folder for temporary files; what killed runs left goes from it.

        Raises:
            StoreError: It cannot be made.
        """
        folder = self.own.make((SCRATCH,))
        _sweep_daily(folder.root)
        sweep_folder(folder.path, folder.fd)
        return folder

    @contextmanager
    def scratch_folder(self) -> Iterator[Folder]:
        """Open an empty folder of this user alone, for as long as the block runs.

        Raises:
            StoreError: It cannot be made.
        """
        from sifmake.store.scratch import open_scratch

        with self.scratch() as parent, open_scratch(parent) as scratch:
            yield scratch

    def _warn_once(self, what: str) -> None:
        """Warn of a folder, once: many files are looked for in it."""
        if what not in self._told:
            self._told.add(what)
            self._progress.warning(what)


def _sweep_daily(root: Folder) -> None:
    """Remove old temporaries, unless that was done within a day; only then what that takes is loaded."""
    try:
        age = time.time() - os.stat(STAMP, dir_fd=root.fd, follow_symlinks=False).st_mtime
    except OSError:
        age = DAY
    if not -SKEW < age < DAY:
        from sifmake.store.sweep import sweep_marked

        sweep_marked(root)
