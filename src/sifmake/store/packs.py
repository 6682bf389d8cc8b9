"""Layer packs of a store by key, and the patches to them."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from sifmake.store.keyed_files import KeyedFiles
from sifmake.store.naming import PACKS, PATCHES, SCRATCH, Spot, is_key
from sifmake.store.stored_files import Found
from sifmake.temporaries import hold, temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.store.stored_files import StoredFiles

_Result = TypeVar("_Result")


class _NamedByKey(KeyedFiles):
    def drop(self, key: str) -> None:
        """Remove a damaged file from the writable store; from now on this object finds none in the read-only ones."""
        self._dropped.add(key)
        self._files.remove(self._spot(key))


class StoredPacks(_NamedByKey):
    """Layer packs."""

    kind = PACKS

    def __init__(self, files: StoredFiles) -> None:
        super().__init__(files)
        self._unplaced: dict[str, int] = {}

    def write(self, key: str, write: Callable[[BinaryIO], object]) -> Found:
        """Let a pack be written and put it in its place; return the file that was written, open.

        Args:
            key: What it is found by.
            write: Writes to the file that it is given.

        Raises:
            StoreError: The folder cannot be made, or the key is no file name.
            OSError: As writing does; names the place of the pack.
        """
        spot = self._spot(key)
        with ExitStack() as failed:
            with self._files.writing(spot) as file:
                write(file)
                fd = os.dup(file.fileno())
                failed.callback(os.close, fd)
            hold(fd)
            failed.pop_all()
        return Found(spot.under(self._files.own.path), fd)

    def write_temporary(self, write: Callable[[BinaryIO], _Result]) -> tuple[str, _Result]:
        """Let a file be written that has no place yet; return its name for :meth:`place`, and what writing gave.

        Raises:
            StoreError: The folder for it cannot be made.
            OSError: As writing does.
        """
        with self._files.scratch() as folder:
            name = temporary_name("layer")
            with folder.writing(name) as file:
                result = write(file)
                self._unplaced[name] = os.dup(file.fileno())  # keeps it locked
        return name, result

    def place(self, name: str, key: str) -> None:
        """Give a temporary file its place as the pack of a key.

        Raises:
            StoreError: The folder cannot be made, or the key is no file name.
            OSError: As rename does.
        """
        spot = self._spot(key)
        with self._files.own.make((SCRATCH,)) as scratch, self._files.own.make(spot.folders) as folder:
            folder.take(name, scratch, spot.name)
        os.close(self._unplaced.pop(name))

    def drop_temporary(self, name: str) -> None:
        """Remove a temporary file."""
        self._files.remove(Spot((SCRATCH,), name))
        os.close(self._unplaced.pop(name))

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of all packs that begin with a prefix of two characters or more, sorted."""
        names = {name for root in self._files.roots for name in self._files.names(root, (PACKS, prefix[:2]))}
        return sorted(name for name in names if name.startswith(prefix) and is_key(name))


class StoredPatches(_NamedByKey):
    """What images rewrote of packs with deleted files."""

    kind = PATCHES

    def writing(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for the patch of a key, which gets its place when the block ends well.

        Raises:
            StoreError: The folder cannot be made, or the key is no file name.
            OSError: As writing does.
        """
        return self._files.writing(self._spot(key))

    def open_latest(self, prefix: str, most: int) -> list[Found]:
        """Return patches whose keys begin with a prefix of two characters or more, open, the latest used first."""
        found = [
            (status.st_mtime, root, name)
            for root in self._files.roots
            for name, status in self._files.entries(root, (PATCHES, prefix[:2]))
            if name.startswith(prefix) and is_key(name)
        ]
        found.sort(key=lambda one: one[0], reverse=True)
        opened = (self._files.open(root, self._spot(name), renewed=False) for _, root, name in found[:most])
        return [one for one in opened if one is not None]
