"""The store: its folders, its locks and temporary files, and access to each kind of file."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

from sifmake.errors import StoreError
from sifmake.progress import Progress, Silent
from sifmake.store import lock, place
from sifmake.store.access import GROUP, Access
from sifmake.store.blobs import StoredBlobs
from sifmake.store.folder import FolderRules
from sifmake.store.naming import LOCKS, SCRATCH, UNPROVEN, Spot, is_key
from sifmake.store.packs import StoredPacks, StoredPatches
from sifmake.store.root import Root
from sifmake.store.sifs import FinishedSifs
from sifmake.store.step_files import StepFiles
from sifmake.store.stored_files import StoredFiles
from sifmake.store.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from sifmake.store.folder import Folder

_LOCK_TIMEOUT = 1800.0
"""Seconds; longer than a normal pull of one layer takes."""


class Store:
    """One writable store and any number of read-only ones.

    Every file is renamed to its name when it is complete, so readers need no lock. If the store cannot be written, its
    files are still used.

    Attributes:
        root: Folder of the writable store; created on first use.
        read_only: Folders of site stores, searched in this order after the writable store.
        progress: Receives warnings.
        rules: Whose files in the writable store are trusted, and modes of new ones.
        site_rules: Whose files in the read-only stores are trusted.
        blobs: Manifests, indexes and configs, by digest.
        packs: Layer packs, by key.
        patches: Patches of packs, by key.
        sifs: Finished SIFs by key, and notes on the names that point to them.
        steps: Notes on what steps of builds made, by key.
    """

    def __init__(
        self,
        root: Path,
        read_only: Sequence[Path] = (),
        *,
        progress: Progress | None = None,
        trusted_owners: Collection[int | str] = (),
        trusted_groups: Collection[int | str] = (),
        shared: str = "",
    ) -> None:
        self.root = root
        self.read_only = tuple(read_only)
        self.progress = progress if progress is not None else Silent()
        owners, groups = tuple(trusted_owners), tuple(trusted_groups)
        self.rules = FolderRules(Trust(owners, groups), Access(shared, writers=shared == GROUP and bool(groups)))
        self.site_rules = FolderRules(Trust(owners, groups, keeper=True))
        site = [Root(path, self.site_rules) for path in self.read_only]
        self._files = StoredFiles(Root(root, self.rules), site, self.progress)
        self.blobs = StoredBlobs(self._files, self.progress)
        self.packs = StoredPacks(self._files)
        self.patches = StoredPatches(self._files)
        self.sifs = FinishedSifs(self._files)
        self.steps = StepFiles(self._files)

    @classmethod
    def open(
        cls,
        root: Path | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        read_only: Sequence[Path] = (),
        progress: Progress | None = None,
        trusted_owners: Collection[int | str] = (),
        trusted_groups: Collection[int | str] = (),
        shared: str = "",
    ) -> Store:
        """Return the store at ``root``, else the one that the environment names, without writing anything.

        Args:
            root: Folder of the writable store.
            environ: Provides ``SIFMAKE_CACHE``, ``XDG_CACHE_HOME``, ``HOME``, ``SIFMAKE_READONLY_CACHE``.
            read_only: Further read-only stores, searched before those of the environment.
            progress: Receives warnings.
            trusted_owners: Users, by id or name, whose files are used, in addition to this user and root.
            trusted_groups: Groups, by id or name, whose files are used.
            shared: Who may use new files: ``none``, ``group``, ``all``; empty to follow the folder's permissions.

        Raises:
            StoreError: No folder is named, and there is no home directory.
        """
        writable = root.absolute() if root is not None else place.find_root(environ)
        layered = (*(path.absolute() for path in read_only), *place.find_read_only(environ))
        return cls(
            writable,
            layered,
            progress=progress,
            trusted_owners=trusted_owners,
            trusted_groups=trusted_groups,
            shared=shared,
        )

    def has(self, spot: Spot) -> bool:
        """Tell whether the writable store has a file and trusts it."""
        found = self._files.open(self._files.own, spot)
        if found is not None:
            found.close()
        return found is not None

    def put(self, spot: Spot, write: Callable[[Path], object]) -> None:
        """Have a file written and move it into place.

        Args:
            spot: Its place.
            write: Writes and checks a file at the path that it gets.

        Raises:
            StoreError: The folder cannot be created.
            OSError: From rename.
        """
        from sifmake.store.scratch import open_scratch, path_of

        own = self._files.own
        with own.make(spot.folders) as folder, own.make((SCRATCH,)) as parent, open_scratch(parent) as scratch:
            write(path_of(scratch) / UNPROVEN)
            folder.take(UNPROVEN, scratch, spot.name)

    def scratch_folder(self) -> AbstractContextManager[Folder]:
        """Open an empty folder that only this user can enter, until the block ends; StoreError if that fails."""
        return self._files.scratch_folder()

    def temporary_folder(self) -> Path:
        """Return the folder for spooling; files to which nothing was written for a day are removed from it.

        Raises:
            StoreError: It cannot be created.
        """
        with self._files.scratch() as folder:
            return folder.path

    @contextmanager
    def lock(self, name: str, timeout: float = _LOCK_TIMEOUT) -> Iterator[bool]:
        """Hold the lock of a name while the block runs, to avoid duplicate work; yield whether it is held.

        If the lock is not available (a file system without locks, a store that cannot be written, a dead host), warn
        and continue without it. Inside the block, look in the store again.

        Args:
            name: A key, or any text.
            timeout: Seconds after which to continue without the lock.
        """
        try:
            folder = self._files.own.make((LOCKS,))
        except StoreError as error:
            self.progress.warning(f"no lock in the store ({error}); continuing without it, so work may be done twice")
            yield False
            return
        file_name = name if is_key(name) else hashlib.sha256(os.fsencode(name)).hexdigest()
        with lock.hold(folder, file_name, timeout, self.progress) as held:
            yield held

    def sweep(self) -> None:
        """Remove old temporary files of the writable store now."""
        from sifmake.store.sweep import sweep

        with suppress(OSError, StoreError):
            sweep(self._files.own.open())
