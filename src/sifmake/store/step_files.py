"""Notes on the results of build steps."""

from __future__ import annotations

import os

from sifmake.store.keyed_files import KeyedFiles
from sifmake.store.naming import STEPS


class StepFiles(KeyedFiles):
    """Small files by the key of a step; nothing proves their content, so their owner must be trusted."""

    kind = STEPS

    def read(self, key: str, largest: int) -> tuple[bytes, int] | None:
        """Return a note and the user who owns it, or None.

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

    def keep(self, key: str, data: bytes) -> None:
        """Keep a note; if the store cannot be written, only warn."""
        self._files.keep(self._spot(key), data)
