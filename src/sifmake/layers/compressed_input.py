"""The compressed bytes of a layer: they can be peeked at, put back, and read ahead."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from sifmake.limits import KIB

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_BYTES: Final = 64 * KIB
"""Bytes given to a decoder at once. The rest that a decoder leaves after a member is copied, and eStargz and
zstd:chunked layers have one member per file: small reads keep that copy cheap.
"""


class CompressedInput:
    """Compressed bytes, in the pieces in which they were read.

    What was read ahead does not change how the bytes are handed out afterwards, nor when an error of reading is raised.

    Attributes:
        count: Bytes handed out so far.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._ready = b""
        self._ahead: deque[bytes] = deque()
        self._error: Exception | None = None
        self.count = 0

    def head(self, size: int) -> bytes:
        """Return the next ``size`` bytes without consuming them; fewer only at the end."""
        while len(self._ready) < size and (data := self._fetch()):
            self._ready += data
        return self._ready[:size]

    def next(self) -> bytes:
        """Return some bytes, none at the end."""
        data, self._ready = self._ready or self._fetch(), b""
        self.count += len(data)
        return data

    def put_back(self, data: bytes) -> None:
        """Take back the last bytes of the piece that was handed out last."""
        self.count -= len(data)
        self._ready = data

    def unread(self) -> list[bytes]:
        """Return the pieces that were read and not handed out yet."""
        return [piece for piece in (self._ready, *self._ahead) if piece]

    def read_ahead(self) -> bytes:
        """Read a piece more and return it; nothing at the end, or if an error will be raised there."""
        if self._error is not None:
            return b""
        try:
            data = self._read(_READ_BYTES)
        except Exception as error:  # noqa: BLE001  # raised when the bytes before it are used up
            self._error = error
            return b""
        if data:
            self._ahead.append(data)
        return data

    def skip(self, size: int) -> None:
        """Consume bytes that were read already."""
        self.count += size
        while size > len(self._ready):
            size -= len(self._ready)
            self._ready = self._ahead.popleft()
        self._ready = self._ready[size:]

    def _fetch(self) -> bytes:
        if self._ahead:
            return self._ahead.popleft()
        if self._error is not None:
            raise self._error
        return self._read(_READ_BYTES)
