"""Remote stores of packs: fill them from the store, and fill the store from them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.api.common import StrPath, as_names
from sifmake.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from sifmake.builder.locked_layers import LockedPack
    from sifmake.project.configuration import Configuration
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store


@dataclass(frozen=True)
class PacksPushed:
    """What :meth:`RemoteStore.push` did.

    Attributes:
        uploaded: Keys of packs that the registry lacked.
        known: How many it had.
        left_out: Keys of packs that nobody could check, and DiffIDs of layers without a pack in the store.
    """

    uploaded: tuple[str, ...]
    known: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class PacksPulled:
    """What :meth:`RemoteStore.pull` did.

    Attributes:
        fetched: Keys of packs that were added to the store.
        known: How many the store had.
        missing: Keys of packs that no remote store has, or that failed their check.
    """

    fetched: tuple[str, ...]
    known: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class PacksRemoved:
    """What :meth:`RemoteStore.collect` did, or would do.

    Attributes:
        removed: Tags of the packs and notes on steps that were deleted.
        waiting: Tags of those that no lock names, but not for long enough.
        kept: How many locks name.
    """

    removed: tuple[str, ...]
    waiting: tuple[str, ...]
    kept: int


class RemoteStore:
    """Remote stores of packs.

    Attributes:
        root: Folder of the project whose ``sifmake.yaml`` and locks count.
        uri: The remote store.
    """

    def __init__(self, root: StrPath = ".", uri: str = "", *, progress: Progress | None = None) -> None:
        """Set up; no request is made yet.

        Args:
            root: Folder of the project whose ``sifmake.yaml`` and locks count.
            uri: ``oci://HOST/REPOSITORY`` or ``https://HOST/PATH``; by default what is configured.
            progress: Receives messages and the progress of transfers.

        Raises:
            ConfigError: The configuration is not valid.
        """
        self.root = Path(root)
        self.uri = uri
        self._progress = progress or Silent()
        self._configuration, self._store, self._settings = _open(self.root, self._progress)

    def push(self, images: str | Iterable[str] = ()) -> PacksPushed:
        """Upload the packs of images that the store has.

        Args:
            images: Names of images with a lock in ``root``, lock files, or digests of manifests in the store; by
                default all images with a lock.

        Raises:
            UsageError: A word is none of these, or no registry is configured.
            RegistryError: The registry refuses a pack; those before it are there.
            SifmakeError: The layers of an image are not known, or the key that signs cannot be used.
        """
        from sifmake.builder.remote_exchange import push_layers, writable

        remotes, layers = writable(self._configuration, self.uri), self._layers(as_names(images))
        uploaded: list[str] = []
        left_out: dict[str, None] = {}
        known = 0
        for remote in remotes:
            done, without = push_layers(layers, self._store, remote, self._settings)
            uploaded += done.uploaded
            known += done.known
            left_out |= dict.fromkeys((*done.left_out, *without))
        return PacksPushed(tuple(uploaded), known, tuple(left_out))

    def pull(self, images: str | Iterable[str] = ()) -> PacksPulled:
        """Fetch and check the packs of images that the store lacks; a remote store that fails gives a warning.

        Args:
            images: As for :meth:`push`.

        Raises:
            UsageError: A word is none of these, or no remote store is configured.
            SifmakeError: The layers of an image are not known, or the store cannot be made.
            OSError: The store cannot be written.
        """
        from sifmake.builder.remote_exchange import pull_layers, readable
        from sifmake.places import store_place, telling_places

        remotes, layers = readable(self._configuration, self.uri), self._layers(as_names(images))
        with telling_places(store_place(self._store.root)):
            done = pull_layers(layers, self._store, remotes, self._settings)
        return PacksPulled(done.fetched, done.known, done.missing)

    def collect(
        self, max_age: timedelta | str, locks: StrPath | Iterable[StrPath] = (), *, dry_run: bool = False
    ) -> PacksRemoved:
        """Delete the packs that no lock has named for some time; other artifacts of the repository stay.

        The time begins with the first call that sees a pack unused, because registries do not say how old it is.

        Args:
            max_age: A time, or a text such as ``30d``.
            locks: Folders with the locks of all images whose packs are there; by default that of ``root``.
            dry_run: Whether to change nothing and only report.

        Raises:
            UsageError: A folder has no locks, or it is not clear which registry is meant.
            RegistryError: The registry does not answer, or does not allow deletion.
            SifmakeError: A lock cannot be read, or does not name its layers.
        """
        from sifmake.builder.locked_layers import LOCKS, named_in_locks
        from sifmake.builder.remote_exchange import writable
        from sifmake.remote.collecting import collect_packs
        from sifmake.store.collect import parse_age

        age = parse_age(max_age) if isinstance(max_age, str) else max_age.total_seconds()
        given = [locks] if isinstance(locks, str | os.PathLike) else locks
        folders = [Path(folder) for folder in given] or [self.root / LOCKS]
        named = named_in_locks(folders, self._store, self._settings.limits)
        removed: list[str] = []
        waiting: list[str] = []
        kept = 0
        for remote in writable(self._configuration, self.uri):
            done = collect_packs(remote, self._settings, named, age, time.time(), dry_run=dry_run)
            removed += done.removed
            waiting += done.waiting
            kept += done.kept
        return PacksRemoved(tuple(removed), tuple(waiting), kept)

    def _layers(self, words: tuple[str, ...]) -> list[LockedPack]:
        from sifmake.builder.locked_layers import LOCKS, layers_of, layers_of_locks

        return layers_of(words, self.root, self._store) if words else layers_of_locks(self.root / LOCKS, self._store)


def _open(root: Path, progress: Progress) -> tuple[Configuration, Store, SourceSettings]:
    """Return the configuration of the project in a folder, else the defaults, with store and settings of registries."""
    from sifmake.builder.builder import RegistryAccess, call_settings
    from sifmake.project.configuration import Configuration, has_settings

    if not has_settings(root):
        configuration = Configuration()
        store = configuration.open_store(progress)
    else:
        from sifmake.project.project import Project

        project = Project(root, progress=progress)
        configuration, store = project.configuration, project.store
    return configuration, store, call_settings(configuration, progress, RegistryAccess())
