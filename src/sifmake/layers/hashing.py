"""Digests that are computed on a thread of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sifmake.limits import KIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from sifmake.layers.beside import Beside

    Update = Callable[[Buffer], object]
    Updates = list[tuple[Update, Buffer]]
    """Methods that take bytes into a digest, and the bytes."""

_TOGETHER: Final = 512 * KIB
"""Bytes given to the thread at once, because waking it takes as long as hashing some KiB."""


class Hashing:
    """Updates digests in order: on a thread, or at once where there is none.

    Args:
        thread: Runs :func:`update_all`.

    Attributes:
        is_apart: Whether there is a thread, so that a digest is complete only after :meth:`settle`.
    """

    def __init__(self, thread: Beside[Updates, None] | None = None) -> None:
        self.is_apart = thread is not None
        self._thread = thread
        self._updates: Updates = []
        self._size = 0

    def update(self, update: Update, data: bytes | bytearray | memoryview) -> None:
        """Call ``update`` with the data, which must not change from now on; :meth:`settle` waits until that is done.

        Raises:
            MemoryError: Hashing needed more memory than there is.
        """
        if self._thread is None:
            update(data)
            return
        self._updates.append((update, data))
        self._size += len(data)
        if self._size >= _TOGETHER:
            self._send(self._thread)

    def settle(self) -> None:
        """Wait until everything is hashed.

        Raises:
            MemoryError: Hashing needed more memory than there is.
        """
        if self._thread is not None:
            self._send(self._thread)
            if not self._thread.flush():
                self._thread.finish()

    def _send(self, thread: Beside[Updates, None]) -> None:
        updates, size = self._updates, self._size
        self._updates, self._size = [], 0
        if not thread.put(updates, size):
            thread.finish()


def update_all(batches: Iterator[Updates]) -> None:
    """Do all updates: the work of the thread."""
    for updates in batches:
        for update, data in updates:
            update(data)
