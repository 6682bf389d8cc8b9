"""Files of the writable and the read-only stores, by place: open them if they are trusted, move new ones into place."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from sifmake.errors import StoreError, describe_os_error
from sifmake.store.naming import SCRATCH, STAMP
from sifmake.store.trust import DAY, SKEW, renew
from sifmake.temporaries import hold, sweep_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sifmake.progress import Progress
    from sifmake.store.folder import Folder
    from sifmake.store.naming import Spot
    from sifmake.store.root import Root

_Listed = TypeVar("_Listed")


class Found(NamedTuple):
    """A file of a store.

    Attributes:
        path: Its path, for messages.
        fd: The file, open for reading; the caller owns the descriptor.
        exposed: Whether other users can give its name to another file of the same owner.
        distrust: Why the file is not trusted; empty if it is.
    """

    path: Path
    fd: int
    exposed: bool = False
    distrust: str = ""

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


class StoredFiles:
    """Files of all stores.

    Attributes:
        own: The writable store.
        roots: The writable store, then the read-only ones.
    """

    def __init__(self, own: Root, read_only: Sequence[Root], progress: Progress) -> None:
        self.own = own
        self.roots = (own, *read_only)
        self._progress = progress
        self._told: set[str] = set()

    def open(
        self, root: Root, spot: Spot, *, anyone: bool = False, renewed: bool = True, quiet: bool = False
    ) -> Found | None:
        """Return a file of one store if it exists and is trusted; an untrusted file gives a warning.

        While it is open, ``gc`` and ``clean`` do not remove it from the writable store, if locks work.

        Args:
            root: The store.
            spot: Its place in the store.
            anyone: Whether to accept any owner; the caller then has to check the content.
            renewed: Whether this is a use, which renews its time stamp.
            quiet: Whether to give no warning, because the caller asks for untrusted files too.
        """
        found = self.look(root, spot, judged=not anyone, renewed=renewed)
        if found is None or not found.distrust:
            return found
        found.close()
        if not quiet:
            self._progress.warning(f"{found.path} is not used: {found.distrust}")
        return None

    def look(self, root: Root, spot: Spot, *, judged: bool = True, renewed: bool = False) -> Found | None:
        """Return a file of one store if it exists, whether it is trusted or not; see :meth:`open`.

        Args:
            root: The store.
            spot: Its place in the store.
            judged: Whether to look whose file it is.
            renewed: Whether to renew the time stamp of a trusted file.
        """
        try:
            folder = root.reach(spot.folders)
        except StoreError as error:
            self._warn_once(str(error))
            return None
        except OSError as error:
            self._warn_unless_missing(error)
            return None
        with folder, ExitStack() as refused:
            try:
                fd = folder.open(spot.name)
                refused.callback(os.close, fd)
                status = os.fstat(fd)
                why = folder.why_not(status) if judged else ""
            except StoreError as error:
                self._progress.warning(f"{spot.under(root.path)} is not used: {error.what}")
                return None
            except OSError as error:
                self._warn_unless_missing(error)
                return None
            if root is self.own:
                if renewed and not why:
                    renew(fd, status)
                hold(fd)
            refused.pop_all()
            return Found(spot.under(root.path), fd, folder.is_exposed(), why)

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
        """Return names and status of the files in a folder of one store; empty if it is missing or unreadable."""
        return self._listed(root, folders, lambda folder: folder.entries())

    def names(self, root: Root, folders: Sequence[str]) -> list[str]:
        """Return the names in a folder of one store; see :meth:`entries`."""
        return self._listed(root, folders, lambda folder: folder.names())

    def _listed(self, root: Root, folders: Sequence[str], list_of: Callable[[Folder], list[_Listed]]) -> list[_Listed]:
        try:
            with root.reach(folders) as folder:
                return list_of(folder)
        except StoreError as error:
            self._warn_once(str(error))
        except OSError as error:
            self._warn_unless_missing(error)
        return []

    @contextmanager
    def writing(self, spot: Spot) -> Iterator[BinaryIO]:
        """Open a file of the writable store that is moved into place when the block succeeds.

        Raises:
            StoreError: Its folder cannot be created.
            OSError: From writing.
        """
        with self.own.make(spot.folders) as folder:
            _sweep_daily(folder.root)
            with folder.writing(spot.name) as file:
                yield file

    def keep(self, spot: Spot, data: bytes) -> None:
        """Write a small file unless it exists; if the store cannot be written, only warn."""
        if self.read(self.own, spot, len(data)) == data:
            return
        try:
            with self.own.make(spot.folders) as folder, folder.writing(spot.name) as file:
                file.write(data)
        except (OSError, StoreError) as error:
            self._progress.warning(f"cannot write to the store: {error}")

    def remove(self, spot: Spot) -> None:
        """Remove a file of the writable store, if that is possible."""
        with suppress(OSError, StoreError), self.own.reach(spot.folders) as folder:
            folder.remove(spot.name)

    def scratch(self) -> Folder:
        """Open the folder for temporary files, and remove leftovers of killed runs from it.

        Raises:
            StoreError: It cannot be created.
        """
        folder = self.own.make((SCRATCH,))
        _sweep_daily(folder.root)
        sweep_folder(folder.path, folder.fd)
        return folder

    @contextmanager
    def scratch_folder(self) -> Iterator[Folder]:
        """Open an empty folder that only this user can enter, until the block ends.

        Raises:
            StoreError: It cannot be created.
        """
        from sifmake.store.scratch import open_scratch

        with self.scratch() as parent, open_scratch(parent) as scratch:
            yield scratch

    def _warn_unless_missing(self, error: OSError) -> None:
        """Say why a file or folder counts as missing, because "pull it first" does not help against a broken disk."""
        if not isinstance(error, FileNotFoundError):
            self._warn_once(f"what the store has is not used: {describe_os_error(error)}")

    def _warn_once(self, what: str) -> None:
        """Warn about a folder only once, because many files are looked up in it."""
        if what not in self._told:
            self._told.add(what)
            self._progress.warning(what)


def _sweep_daily(root: Folder) -> None:
    """Remove old temporary files, unless that was done within a day; imports the code for it only if needed."""
    try:
        age = time.time() - os.stat(STAMP, dir_fd=root.fd, follow_symlinks=False).st_mtime
    except OSError:
        age = DAY
    if not -SKEW < age < DAY:
        from sifmake.store.sweep import sweep_marked

        sweep_marked(root)
