"""Notes on the results of build steps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sifmake.store.keyed_files import KeyedFiles
from sifmake.store.naming import STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator


_MOST = 16
"""Most notes of one step that are read in one store."""


class StepFiles(KeyedFiles):
    """Small files by the key of a step; nothing proves their content.

    The file named like the key is believed if its owner is trusted. Files named ``KEY-MORE`` are notes that need
    another proof: a signature, or a lock that names the same result. What follows the key is not read.
    """

    kind = STEPS

    def is_empty(self) -> bool:
        """Tell whether no store has a note."""
        return not any(self._files.names(root, (STEPS,)) for root in self._files.roots)

    def read(self, key: str, largest: int) -> tuple[bytes, int] | None:
        """Return a note and the trusted user who owns it, or None.

        Args:
            key: Key of the step.
            largest: Most bytes of a note; a larger file is ignored.
        """
        found = self.open(key)
        if found is None:
            return None
        with os.fdopen(found.fd, "rb") as file:
            data = file.read(largest + 1)
            return (data, os.fstat(file.fileno()).st_uid) if len(data) <= largest else None

    def read_all(self, key: str, largest: int) -> Iterator[tuple[str, bytes]]:
        """Yield names and bytes of all notes of a step, of whatever owner, by store and then by name.

        Args:
            key: Key of the step.
            largest: Most bytes of a note; larger files are left out.
        """
        spot = self._spot(key)
        for root in self._files.roots:
            names = sorted(name for name in self._files.names(root, spot.folders) if _is_of(name, key))
            for name in names[:_MOST]:
                data = self._files.read(root, spot._replace(name=name), largest, anyone=True)
                if data is not None and len(data) <= largest:
                    yield name, data

    def keep(self, key: str, data: bytes) -> None:
        """Keep a note; if the store cannot be written, only warn."""
        self._files.keep(self._spot(key), data)


def _is_of(name: str, key: str) -> bool:
    return name == key or name.startswith(f"{key}-")
