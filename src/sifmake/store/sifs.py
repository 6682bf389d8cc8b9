"""Finished SIFs of a store by key, and notes on the names that point to them."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from sifmake.files import sha256_of_open
from sifmake.store.keyed_files import KeyedFiles
from sifmake.store.naming import SIFS, Spot, name_note, name_spot, name_target, split_sif_name
from sifmake.store.stored_files import Found
from sifmake.store.trust import renew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sifmake.store.folder import Folder
    from sifmake.store.root import Root
    from sifmake.store.unfinished_sif import UnfinishedSif

_LARGEST_NOTE = 512


class FinishedSifs(KeyedFiles):
    """SIF files for ``sifmake run docker://...``; their file names contain the key and the SHA-256."""

    kind = SIFS

    def put(self, key: str, write: Callable[[Path], object]) -> Found:
        """Write a finished SIF, keep it with its SHA-256 in its name, and return it, open.

        Args:
            key: Its key; an earlier file with the same key is removed.
            write: Writes a file at the path that it gets.

        Raises:
            StoreError: The folder cannot be created, or the key cannot be a file name.
        """
        from sifmake.store.scratch import path_of

        spot, own = self._spot(key), self._files.own
        with own.make(spot.folders) as folder, self._files.scratch_folder() as scratch, ExitStack() as failed:
            name = f"{key}.sif"
            write(path_of(scratch) / name)
            fd = scratch.open(name)
            failed.callback(os.close, fd)
            target = f"{key}.{sha256_of_open(fd)}.sif"
            folder.take(name, scratch, target)
            failed.pop_all()
            remove_others(folder, key, target)
        return Found(Spot(spot.folders, target).under(own.path), fd)

    @contextmanager
    def begin(self, key: str) -> Iterator[UnfinishedSif]:
        """Create the file of a key, which gets its name later; see :func:`~sifmake.store.unfinished_sif.begin_sif`.

        Raises:
            StoreError: The folder cannot be created, or the key cannot be a file name.
            OSError: The file cannot be created.
        """
        from sifmake.store.unfinished_sif import begin_sif

        with self._files.own.make(self._spot(key).folders) as folder, begin_sif(folder, key) as unfinished:
            yield unfinished

    def open(self, key: str) -> Found | None:
        """Return the finished SIF of a key, open, or None, without checking its SHA-256 or renewing its time stamp."""
        return self._open(key, renewed=False)

    def renew(self, found: Found) -> None:
        """Renew the time stamp of a used file, if it is in the writable store."""
        if found.path.is_relative_to(self._files.own.path):
            renew(found.fd, os.fstat(found.fd))

    def paths(self, key: str) -> list[Path]:
        """Return the paths of finished SIFs of a key in all stores, without changing or trusting anything."""
        spot = self._spot(key)
        return [
            Spot(spot.folders, name).under(root.path) for root in self._files.roots for name in self._names(root, spot)
        ]

    def drop(self, path: Path) -> None:
        """Remove a damaged finished SIF from the writable store; one in a read-only store is no longer used."""
        self._dropped.add(path.name)
        if path.is_relative_to(self._files.own.path):
            self._files.remove(Spot((SIFS, path.parent.name), path.name))

    def keep_name(self, name: str, key: str) -> None:
        """Keep a note on the finished SIF to which a name points."""
        self._files.keep(name_spot(name), name_note(name, key))

    def find_name(self, name: str) -> str:
        """Return the key that was kept for a name; empty if there is none."""
        return name_target(self._files.read(self._files.own, name_spot(name), _LARGEST_NOTE) or b"", name)

    def _names(self, root: Root, spot: Spot) -> Sequence[str]:
        return [name for name in self._files.names(root, spot.folders) if split_sif_name(name)[0] == spot.name]


def remove_others(folder: Folder, key: str, kept: str) -> None:
    """Remove all finished SIFs of a key except one."""
    for name in folder.names():
        if name != kept and split_sif_name(name)[0] == key:
            with suppress(OSError):
                folder.remove(name)
