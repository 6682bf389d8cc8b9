"""How many layers are transferred at the same time, without a pause between one and the next."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sifmake.builder.cancellation import CancelledError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.sources.base import BlobReader

LAST_BYTES = 1 << 20
"""Bytes at the end of a layer that are enough to cover the way of the next request."""


class TransferSlots:
    """A number of slots that threads take. A slot is free again when the last bytes of a layer are on their way.

    The next layer's request then travels while this one is read to its end, packed and put on disk.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def acquire(self) -> Iterator[TransferSlot]:
        """Wait for a slot and hold it at most as long as the block runs.

        Raises:
            CancelledError: There are no further slots.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._closed)
            if self._closed:
                raise CancelledError("given up")
            self._free -= 1
        slot = TransferSlot(self)
        try:
            yield slot
        finally:
            slot.end()

    def close(self) -> None:
        """Let those who wait give up."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def give_back(self) -> None:
        """Let one more take a slot."""
        with self._changed:
            self._free += 1
            self._changed.notify()


class TransferSlot:
    """One layer's slot; it is used by one thread."""

    def __init__(self, slots: TransferSlots) -> None:
        self._slots: TransferSlots | None = slots

    def end(self) -> None:
        """Let the next one begin, once."""
        if self._slots is not None:
            self._slots.give_back()
            self._slots = None

    def watch(self, reader: BlobReader, size: int) -> BlobReader:
        """Return a reader of the same ``size`` bytes whose last ones end the slot."""
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
