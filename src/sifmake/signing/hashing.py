"""Digests of the data of objects; each object is read once, in large pieces, with bounded memory."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from sifmake.errors import SifError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sifmake.sif import Descriptor, Sif

PIECE = 1 << 20


class ObjectHashes:
    """The digests of an open file's objects, computed on first use."""

    def __init__(self, sif: Sif) -> None:
        self._sif = sif
        self._known: dict[tuple[int, str], str] = {}

    def digest(self, item: Descriptor, name: str) -> str:
        """Return the hexadecimal digest of an object's data with a hash of hashlib."""
        if (item.id, name) not in self._known:
            self.compute(item, [name])
        return self._known[item.id, name]

    def compute(self, item: Descriptor, names: Iterable[str]) -> None:
        """Hash an object's data with several hashes in one pass.

        Raises:
            SifError: The file has become shorter since it was opened.
        """
        hashes = {name: hashlib.new(name) for name in names}
        buffer = memoryview(bytearray(min(PIECE, max(item.size, 1))))
        offset = 0
        while offset < item.size:
            piece = buffer[: item.size - offset]
            done = os.preadv(self._sif.fd, [piece], item.offset + offset)
            if not done:
                raise SifError(f"object {item.id} ends too early: the file was truncated", where=str(self._sif.path))
            for hasher in hashes.values():
                hasher.update(piece[:done])
            offset += done
        self._known.update({(item.id, name): hasher.hexdigest() for name, hasher in hashes.items()})
