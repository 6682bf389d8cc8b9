"""Limit how many layers are transferred at the same time, without pauses between them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sifmake.builder.cancellation import CancelledError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.sources.base import BlobReader

LAST_BYTES = 1 << 20
"""Bytes at the end of a layer whose transfer takes about as long as the next request needs to travel."""


class TransferSlots:
    """A number of slots for threads. A slot becomes free when the last bytes of a layer are on their way.

    The request for the next layer then travels while the end of this one is read, packed and written.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def acquire(self) -> Iterator[TransferSlot]:
        """Wait for a slot and hold it until the end of the block, or until the transfer gives it back.

        Raises:
            CancelledError: The slots were closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._closed)
            if self._closed:
                raise CancelledError("cancelled")
            self._free -= 1
        slot = TransferSlot(self)
        try:
            yield slot
        finally:
            slot.end()

    def close(self) -> None:
        """Make waiting threads give up."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def give_back(self) -> None:
        """Free a slot for another thread."""
        with self._changed:
            self._free += 1
            self._changed.notify()


class TransferSlot:
    """The slot of one layer, used by one thread."""

    def __init__(self, slots: TransferSlots) -> None:
        self._slots: TransferSlots | None = slots

    def end(self) -> None:
        """Free the slot; further calls do nothing."""
        if self._slots is not None:
            self._slots.give_back()
            self._slots = None

    def watch(self, reader: BlobReader, size: int) -> BlobReader:
        """Return a reader of the same ``size`` bytes that frees the slot shortly before the end."""
        return _Watched(reader, size, self)


class _Watched:
    def __init__(self, reader: BlobReader, size: int, slot: TransferSlot) -> None:
        self._reader = reader
        self._left = size
        self._slot = slot

    def read(self, size: int, /) -> bytes:
        data = self._reader.read(size)
        self._left -= len(data)
        if self._left <= LAST_BYTES:
            self._slot.end()
        return data
