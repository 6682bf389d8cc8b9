"""Layer packs of a store by key, and the patches to them."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from sifmake.store.keyed_files import KeyedFiles
from sifmake.store.naming import PACKS, PATCHES, SCRATCH, UNPROVEN, Spot, is_key
from sifmake.store.stored_files import Found
from sifmake.temporaries import hold, temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sifmake.store.stored_files import StoredFiles

_Result = TypeVar("_Result")


class _NamedByKey(KeyedFiles):
    def drop(self, key: str) -> None:
        """Remove a damaged file from the writable store; this object no longer looks for it in the read-only ones."""
        self._dropped.add(key)
        self._files.remove(self._spot(key))


class StoredPacks(_NamedByKey):
    """Layer packs."""

    kind = PACKS

    def __init__(self, files: StoredFiles) -> None:
        super().__init__(files)
        self._unplaced: dict[str, int] = {}

    def open_trusted(self, key: str) -> Found | None:
        """Return the same as :meth:`open`, without a warning about files that are not trusted."""
        return self._open(key, renewed=True, quiet=True)

    def open_untrusted(self, key: str) -> Iterator[Found]:
        """Yield the files of a key that are not trusted because of their owner or mode; the caller closes them.

        Raises:
            StoreError: The key cannot be a file name.
        """
        spot = self._spot(key)
        for root in self._files.roots:
            found = self._files.look(root, spot)
            if found is not None and found.distrust:
                yield found
            elif found is not None:
                found.close()

    def write(self, key: str, write: Callable[[BinaryIO], object]) -> Found:
        """Write a pack and move it into place; return the written file, open.

        Args:
            key: The key of the pack.
            write: Writes to the file that it gets.

        Raises:
            StoreError: The folder cannot be created, or the key cannot be a file name.
            OSError: From writing; names the path of the pack.
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

    def write_unproven(self, key: str, write: Callable[[BinaryIO], object]) -> Found:
        """Write a pack that somebody else made like :meth:`write`, in a folder that nobody else can enter.

        Beside its place, other members of a group could give the file its name before it is proven or refused, and it
        would count as this user's.

        Args:
            key: The key of the pack.
            write: Writes to the file that it gets, and proves what it has written.

        Raises:
            StoreError: A folder cannot be created, or the key cannot be a file name.
            OSError: From writing.
        """
        spot = self._spot(key)
        with ExitStack() as failed:
            with self._files.scratch_folder() as scratch, self._files.own.make(spot.folders) as folder:
                with scratch.writing(UNPROVEN) as file:
                    write(file)
                    fd = os.dup(file.fileno())
                    failed.callback(os.close, fd)
                folder.take(UNPROVEN, scratch, spot.name)
            hold(fd)
            failed.pop_all()
        return Found(spot.under(self._files.own.path), fd)

    def write_temporary(self, write: Callable[[BinaryIO], _Result]) -> tuple[str, _Result]:
        """Write a file whose key is not known yet; return its name for :meth:`place`, and the result of writing.

        Raises:
            StoreError: The folder for it cannot be created.
            OSError: From writing.
        """
        with self._files.scratch() as folder:
            name = temporary_name("layer")
            with folder.writing(name) as file:
                result = write(file)
                self._unplaced[name] = os.dup(file.fileno())  # keeps it locked
        return name, result

    def place(self, name: str, key: str) -> None:
        """Move a temporary file into place as the pack of a key.

        Raises:
            StoreError: The folder cannot be created, or the key cannot be a file name.
            OSError: From rename.
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
        """Return the keys of all packs with a prefix of at least two characters, sorted."""
        names = {name for root in self._files.roots for name in self._files.names(root, (PACKS, prefix[:2]))}
        return sorted(name for name in names if name.startswith(prefix) and is_key(name))


class StoredPatches(_NamedByKey):
    """Patches: the parts of packs that images rewrote because of deleted files."""

    kind = PATCHES

    def writing(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for the patch of a key; it is moved into place when the block succeeds.

        Raises:
            StoreError: The folder cannot be created, or the key cannot be a file name.
            OSError: From writing.
        """
        return self._files.writing(self._spot(key))

    def open_latest(self, prefix: str, most: int) -> list[Found]:
        """Return patches whose keys have a prefix of at least two characters, open, the most recently used first."""
        found = [
            (status.st_mtime, root, name)
            for root in self._files.roots
            for name, status in self._files.entries(root, (PATCHES, prefix[:2]))
            if name.startswith(prefix) and is_key(name)
        ]
        found.sort(key=lambda one: one[0], reverse=True)
        opened = (self._files.open(root, self._spot(name), renewed=False) for _, root, name in found[:most])
        return [one for one in opened if one is not None]
