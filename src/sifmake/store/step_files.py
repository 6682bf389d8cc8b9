"""Notes on what steps of builds have given."""

from __future__ import annotations

import os

from sifmake.store.keyed_files import KeyedFiles
from sifmake.store.naming import STEPS


class StepFiles(KeyedFiles):
    """Small files by the key of a step; nothing proves them, so their writer has to be trusted."""

    kind = STEPS

    def read(self, key: str, largest: int) -> tuple[bytes, int] | None:
        """Return a note and the user who owns it, or None.

        Args:
            key: Of the step.
            largest: Bytes of the largest note; what is larger is none.
        """
        found = self.open(key)
        if found is None:
            return None
        with os.fdopen(found.fd, "rb") as file:
            data = file.read(largest + 1)
            return (data, os.fstat(file.fileno()).st_uid) if len(data) <= largest else None

    def keep(self, key: str, data: bytes) -> None:
        """Keep a note; a store that cannot be written is left alone with a warning."""
        self._files.keep(self._spot(key), data)
