"""Files of one kind in all stores, found by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.store.naming import Spot, key_spot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sifmake.store.root import Root
    from sifmake.store.stored_files import Found, StoredFiles


class KeyedFiles:
    """Packs, patches or finished SIFs: first those of the writable store, then those of the read-only ones.

    All methods with a key raise a StoreError if the key cannot be a file name.
    """

    kind: str
    """Name of their folder in a store."""

    def __init__(self, files: StoredFiles) -> None:
        self._files = files
        self._dropped: set[str] = set()

    def open(self, key: str) -> Found | None:
        """Return the file of a key, open, from the first store that has it, or None; renews its time stamp."""
        return self._open(key, renewed=True)

    def find(self, key: str) -> Path | None:
        """Return the path of the file of a key, or None; see :meth:`open`."""
        found = self.open(key)
        if found is None:
            return None
        found.close()
        return found.path

    def _spot(self, key: str) -> Spot:
        return key_spot(self.kind, key)

    def _open(self, key: str, *, renewed: bool, quiet: bool = False) -> Found | None:
        spot = self._spot(key)
        for root in self._files.roots:
            for name in self._names(root, spot):
                if name in self._dropped and root is not self._files.own:
                    continue
                found = self._files.open(root, Spot(spot.folders, name), renewed=renewed, quiet=quiet)
                if found is not None:
                    return found
        return None

    def _names(self, _root: Root, spot: Spot) -> Sequence[str]:
        """Return the possible names of the file of a key in one store."""
        return (spot.name,)
