"""A digest of the bytes around the objects of a SIF file, which is cheap to compute."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sifmake.ranges import read_at
from sifmake.sif.format import DataType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.sif.reader import Sif

_PIECE = 1 << 20


def frame_digest(sif: Sif) -> str:
    """Return ``sha256:`` and the digest of header, table, padding and signatures.

    Together with the digests of all other objects, it covers every byte of the file.
    """
    total = hashlib.sha256()
    for start, end in _gaps(sif):
        total.update(b"%d-%d:" % (start, end))
        for at in range(start, end, _PIECE):
            total.update(read_at(sif.fd, min(_PIECE, end - at), at))
    return f"sha256:{total.hexdigest()}"


def _gaps(sif: Sif) -> Iterator[tuple[int, int]]:
    """Yield the ranges that belong to no object, or to a signature."""
    at = 0
    for item in sorted(sif.objects, key=lambda item: item.offset):
        if item.data_type != DataType.SIGNATURE and item.size:
            yield at, item.offset
            at = item.end
    yield at, sif.size
