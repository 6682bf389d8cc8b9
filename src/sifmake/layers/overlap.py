"""Work on one layer in three threads: one reads and inflates, one hashes, one cuts the tar stream into files.

Inflating takes longest and cannot be split, so the other threads take everything else from the one that does it.
What is found wrong does not depend on the threads: an error in making a piece is raised where the piece would have been
used, so after everything that is wrong with the pieces before it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self, TypeVar

from sifmake.layers.beside import Beside
from sifmake.limits import KIB, MIB
from sifmake.memory import most_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sifmake.layers.blocks import Workers

APART_FROM: Final = 4 * MIB
"""Compressed bytes from which a layer has threads of its own: for less, they cost more than they save."""
_AHEAD: Final = 4 * MIB
"""Bytes that wait for a thread."""
_TOGETHER: Final = 512 * KIB
"""Bytes given to the hashing thread at once, because waking it takes as long as hashing some KiB."""

P = TypeVar("P")
T = TypeVar("T")
_Updates = list[tuple["Callable[[bytes], object]", bytes]]
"""Functions that take bytes into a digest, and the bytes."""


class Overlap:
    """The threads of one layer, for the time of a ``with`` block; the caller's thread does what no other can.

    Args:
        workers: A single one stands for a single processor, where more threads gain nothing.
        size: Bytes of the blob.
    """

    def __init__(self, workers: Workers, size: int) -> None:
        self._workers = workers
        self._is_apart = size >= APART_FROM and workers.threads > 1 and most_threads() is None
        self._threads = ExitStack()
        self._hashing: Beside[_Updates, None] | None = None
        self._updates: _Updates = []
        self._size = 0

    def __enter__(self) -> Self:
        self._hashing = self._start(_update_all, "hash")
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.close()

    @property
    def inflaters(self) -> Workers | None:
        """Threads on which to inflate several members at a time; None if the caller's thread does everything."""
        return self._workers if self._is_apart else None

    def hash(self, update: Callable[[bytes], object], data: bytes) -> None:
        """Call ``update`` with the data, now or later, but in order; :meth:`settle` waits for all such calls.

        Raises:
            MemoryError: One of them needed more memory than there is.
        """
        if self._hashing is None:
            update(data)
            return
        self._updates.append((update, data))
        self._size += len(data)
        if self._size >= _TOGETHER:
            self._send(self._hashing)

    def settle(self) -> None:
        """Wait until everything is hashed; from then on, everything is hashed at once.

        Raises:
            MemoryError: It needed more memory than there is.
        """
        if self._hashing is not None:
            self._send(self._hashing)
            self._hashing.finish()
            self._hashing = None

    def consume(self, pieces: Iterable[bytes], consume: Callable[[Iterator[bytes]], T]) -> T:
        """Make the pieces on this thread while another one gives them to ``consume``; return its result.

        Raises:
            Exception: What the pieces or ``consume`` raise, whichever comes first in the stream.
        """
        consumer = self._start(consume, "unpack")
        return consume(iter(pieces)) if consumer is None else consumer.feed(pieces, len)

    def _start(self, work: Callable[[Iterator[P]], T], name: str) -> Beside[P, T] | None:
        if not self._is_apart:
            return None
        try:
            return self._threads.enter_context(Beside(work, name, _AHEAD))
        except (RuntimeError, MemoryError):
            return None

    def _send(self, hashing: Beside[_Updates, None]) -> None:
        updates, size = self._updates, self._size
        self._updates, self._size = [], 0
        if not hashing.put(updates, size):
            hashing.finish()


def _update_all(batches: Iterator[_Updates]) -> None:
    for updates in batches:
        for update, data in updates:
            update(data)
