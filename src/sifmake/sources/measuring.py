"""A sink that only computes the digests of layers and keeps none."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.sources.base import LayerFacts
from sifmake.sources.compression import Inflated, begins_compressed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sifmake.sources.base import BlobReader, LayerCandidate

_CHUNK = 1 << 20


class DigestingSink:
    """Computes digests of layers, for callers that only resolve a reference."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits

    def take(self, candidate: LayerCandidate) -> LayerFacts:
        """Read one layer."""
        return measure(candidate.reader, candidate.head, candidate.algorithm, self._limits, lambda _: None)

    def keep(self, diff_ids: Collection[str]) -> None:
        """Do nothing, because nothing is kept."""

    def drop(self) -> None:
        """Do nothing, because nothing is kept."""


def measure(
    reader: BlobReader, head: bytes, algorithm: str, limits: Limits, advance: Callable[[int], None]
) -> LayerFacts:
    """Read a layer to its end and return its sizes and digests.

    Args:
        reader: Its bytes as they come.
        head: The first of them.
        algorithm: Of the digests.
        limits: Bounds on what comes out.
        advance: Called with the number of bytes that were read.

    Raises:
        IntegrityError: The compressed stream is damaged or exceeds a limit.
    """
    raw = _Counted(reader, algorithm, advance)
    if not begins_compressed(head):
        while raw.read(_CHUNK):
            pass
        return LayerFacts(raw.tell(), raw.digest(), raw.tell(), raw.digest())
    plain = _Counted(Inflated(raw, head, limits), algorithm, lambda _: None)
    while plain.read(_CHUNK):
        pass
    while raw.read(_CHUNK):
        pass
    return LayerFacts(raw.tell(), raw.digest(), plain.tell(), plain.digest())


class _Counted:
    """Counts and hashes what is read."""

    def __init__(self, reader: BlobReader, algorithm: str, advance: Callable[[int], None]) -> None:
        self._reader = reader
        self._hash = hashlib.new(algorithm)
        self._advance = advance
        self._count = 0

    def read(self, size: int, /) -> bytes:
        data = self._reader.read(size)
        self._hash.update(data)
        self._count += len(data)
        self._advance(len(data))
        return data

    def tell(self) -> int:
        return self._count

    def digest(self) -> str:
        return f"{self._hash.name}:{self._hash.hexdigest()}"
