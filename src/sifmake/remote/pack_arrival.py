"""A pack that comes from elsewhere: written to a file without a name, and checked there."""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sifmake.errors import IntegrityError
from sifmake.layers.image_budget import check_index_size
from sifmake.layers.members import most_bytes
from sifmake.layers.pack_proof import prove_pack
from sifmake.layers.pack_reader import load_pack

if TYPE_CHECKING:
    import threading

    from sifmake.limits import Limits
    from sifmake.progress import Task
    from sifmake.sources.base import BlobReader

_CHUNK = 1 << 20
_LARGE_INDEX = 4 << 20
"""Packs with a larger index are proven one at a time, because each may take the memory of a large layer."""
_FACTOR, _ADDITION = 4, 64 << 20
"""Largest pack of a layer, for each compressed byte of it and in addition; 0.97 to 1.5 for each was measured."""


def most_pack_bytes(layer_size: int, limits: Limits) -> int:
    """Return the most bytes of the pack of a layer: far more than another compression of the same files takes."""
    most = most_bytes(layer_size, limits)
    return min(most, _FACTOR * layer_size + _ADDITION) if layer_size else most


@dataclass(frozen=True)
class PackArrival:
    """A pack on its way.

    Attributes:
        key: The key that it must have.
        size: The bytes that it must have.
        reader: Its bytes.
        task: Receives the progress.
        large: Held while a pack with a large index is proven.
    """

    key: str
    size: int
    reader: BlobReader
    task: Task
    large: threading.Lock

    def write(self, file: BinaryIO, signed: str, limits: Limits) -> None:
        """Write it to a file that has no name in the store yet, and check it there.

        Without a signature, neither the digest of the blob nor a checksum proves anything: the rebuilt layer does.

        Args:
            file: The file, which nobody else can write to.
            signed: The SHA-256 that a trusted key has signed, hexadecimal; empty to prove the pack by its content.
            limits: Limits of that proof.

        Raises:
            SourceError: It does not arrive, or has another size or digest.
            PackDamagedError: It is not the pack of its layer.
        """
        total, size = hashlib.sha256(), 0
        while data := self.reader.read(_CHUNK):
            if signed:
                total.update(data)
            size += len(data)
            file.write(data)
            self.task.advance(len(data))
        if size != self.size:
            raise IntegrityError(f"{size} bytes of the pack arrived, and not {self.size}", where=self.key)
        if signed and total.hexdigest() != signed:
            raise IntegrityError("the pack is not the one that was signed", where=self.key)
        file.flush()
        with load_pack(Path(self.key), os.dup(file.fileno()), self.key) as pack:
            check_index_size(pack.footer.index_size, self.size, limits)
            if signed:
                pack.check_data()
            else:
                with self.large if pack.footer.index_size > _LARGE_INDEX else nullcontext():
                    prove_pack(pack, limits, self.task)
