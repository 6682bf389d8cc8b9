"""Work on one layer in four threads, because one alone does not go faster with more processors.

One reads and inflates, one hashes the tar stream, one cuts it into files and writes the pack, one hashes the blob and
large files. Inflating takes longest and cannot be split, so the other threads take everything else from the one that
does it. What is found wrong does not depend on the threads: an error in making a piece is raised where the piece would
have been used, so after everything that is wrong with the pieces before it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self, TypeVar

from sifmake.layers.hashing import Hashing, update_all
from sifmake.limits import MIB
from sifmake.memory import most_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sifmake.layers.beside import Beside
    from sifmake.layers.blocks import Workers

APART_FROM: Final = 4 * MIB
"""Compressed bytes from which a layer has threads of its own: for less, they cost more than they save."""
_AHEAD: Final = 4 * MIB
"""Bytes that wait for a thread."""

P = TypeVar("P")
T = TypeVar("T")


class Overlap:
    """The threads of one layer, for the time of a ``with`` block; the caller's thread does what no other can.

    Args:
        workers: A single one stands for a single processor, where more threads gain nothing.
        size: Bytes of the blob.

    Attributes:
        stream: Hashes what the blob holds.
        blob: Hashes the blob.
        files: Hashes files, on the same thread as the blob, because both together take as long as the stream.
    """

    def __init__(self, workers: Workers, size: int) -> None:
        self._workers = workers
        self._is_apart = size >= APART_FROM and workers.threads > 1 and most_threads() is None
        self._threads = ExitStack()
        self.stream = self.blob = self.files = Hashing()

    def __enter__(self) -> Self:
        self.stream = Hashing(self._start(update_all, "stream"))
        both = self._start(update_all, "hash")
        self.blob, self.files = Hashing(both), Hashing(both)
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.close()

    @property
    def inflaters(self) -> Workers | None:
        """Threads on which to inflate several members at a time; None if the caller's thread does everything."""
        return self._workers if self._is_apart else None

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
        from sifmake.layers.beside import Beside

        try:
            return self._threads.enter_context(Beside(work, name, _AHEAD))
        except (RuntimeError, MemoryError):
            return None
