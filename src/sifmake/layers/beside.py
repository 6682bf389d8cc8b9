"""A thread that takes pieces of bytes while the caller's thread makes them, neither far ahead of the other."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

P = TypeVar("P")
T = TypeVar("T")


class _AbandonedError(Exception):
    """The thread at the other end of a queue has given up."""


class _Queue(Generic[P]):
    """Pieces on their way from one thread to another."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: deque[tuple[P, int]] = deque()
        self._waiting = 0
        self._is_complete = False
        self._is_abandoned = False
        self._is_idle = False
        self._error: Exception | None = None
        self._changed = threading.Condition()

    def put(self, piece: P, size: int) -> None:
        """Add a piece; wait until fewer than the most bytes are in the queue."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting < self._most or self._is_abandoned)
            if self._is_abandoned:
                raise _AbandonedError
            self._pieces.append((piece, size))
            self._is_idle = False
            self._waiting += size
            self._changed.notify_all()

    def flush(self) -> bool:
        """Wait until all pieces are used up; return whether they were, and not abandoned."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_idle or self._is_abandoned)
            return not self._is_abandoned

    def end(self, error: Exception | None = None) -> None:
        """Mark the end: of all pieces, or of those before an error."""
        with self._changed:
            self._is_complete, self._error = True, error
            self._changed.notify_all()

    def abandon(self) -> None:
        """Make both threads give up."""
        with self._changed:
            self._is_abandoned = True
            self._pieces.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[P]:
        """Take all pieces; then raise the error, if one was the end."""
        while True:
            with self._changed:
                self._is_idle = not self._pieces
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._pieces or self._is_complete or self._is_abandoned)
                if self._is_abandoned:
                    raise _AbandonedError
                if not self._pieces:
                    break
                piece, size = self._pieces.popleft()
                self._waiting -= size
                self._changed.notify_all()
            yield piece
        if self._error is not None:
            raise self._error


class Beside(Generic[P, T]):
    """Work on a stream of pieces, on a thread of its own, for the time of a ``with`` block.

    The block's end waits for the thread, and makes it give up if it has not finished.
    """

    def __init__(self, work: Callable[[Iterator[P]], T], name: str, most: int) -> None:
        """Start the thread.

        Args:
            work: Takes the pieces, and gives the result.
            name: Of the thread.
            most: Bytes of pieces that may wait for it, and one piece more.

        Raises:
            RuntimeError: The system allows no more threads.
            MemoryError: A thread needs more memory than there is.
        """
        self._queue: _Queue[P] = _Queue(most)
        self._pool = ThreadPoolExecutor(1, name)
        self._future = self._pool.submit(self._run, work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._queue.abandon()
        wait([self._future])  # an interrupt may come while the pool waits; it then takes its thread for ended
        self._pool.shutdown()

    def put(self, piece: P, size: int) -> bool:
        """Hand over a piece that counts for ``size`` bytes; return whether the work still takes pieces."""
        try:
            self._queue.put(piece, size)
        except _AbandonedError:
            return False
        return True

    def flush(self) -> bool:
        """Wait until the work asks for more pieces than there are; return whether it still takes pieces."""
        return self._queue.flush()

    def feed(self, pieces: Iterable[P], size: Callable[[P], int]) -> T:
        """Make all pieces on this thread, hand them over, and return the result of the work.

        Raises:
            Exception: What the work raises. It gets an error of ``pieces`` after the pieces before it.
        """
        try:
            for piece in pieces:
                if not self.put(piece, size(piece)):
                    break
        except Exception as error:
            self._queue.end(error)
            self._future.result()
            raise
        return self.finish()

    def finish(self) -> T:
        """Say that no piece follows, and return the result of the work.

        Raises:
            Exception: What the work raises.
        """
        self._queue.end()
        return self._future.result()

    def _run(self, work: Callable[[Iterator[P]], T]) -> T:
        try:
            return work(iter(self._queue))
        finally:
            self._queue.abandon()
