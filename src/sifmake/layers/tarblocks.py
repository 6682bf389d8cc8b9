"""A tar stream as blocks of 512 bytes and runs of data, cut from the chunks of an inflater."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import LayerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 512
_WITHHELD = -1


class Blocks:
    """Reads forward through chunks of any size; copies only bytes that span two chunks.

    Args:
        chunks: The stream.
        keep: Called with all bytes of the stream in order, except those between :meth:`begin_content` and
            :meth:`end_content`.
    """

    def __init__(self, chunks: Iterator[bytes], keep: Callable[[bytes], None] | None = None) -> None:
        self._chunks = chunks
        self._keep = keep
        self._kept = 0  # where the bytes of the chunk begin that ``keep`` does not have yet
        self._chunk = b""
        self._at = 0
        self._before = 0

    @property
    def offset(self) -> int:
        """Bytes of the stream that were read."""
        return self._before + self._at

    def block(self) -> bytes:
        """Return the next 512 bytes, or nothing at the clean end of the stream.

        Raises:
            LayerError: The stream ends inside the block.
        """
        start = self._at
        block = self._chunk[start : start + BLOCK]
        if len(block) == BLOCK:
            self._at = start + BLOCK
            return block
        block = b"".join(self._up_to(BLOCK))
        if block and len(block) < BLOCK:
            raise LayerError("the tar stream is truncated inside a header block")
        return block

    def take(self, size: int) -> bytes:
        """Return exactly ``size`` bytes in one piece; see `pieces` for errors."""
        start = self._at
        end = start + size
        if end <= len(self._chunk):
            self._at = end
            return self._chunk[start:end]
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield exactly ``size`` bytes as views of the chunks.

        Raises:
            LayerError: The stream ends too early.
        """
        left = size
        for piece in self._up_to(size):
            left -= len(piece)
            yield piece
        if left:
            raise LayerError(f"the tar stream is truncated, {left} bytes of the entry's data are missing")

    def skip(self, size: int) -> None:
        """Skip data; see `pieces` for errors."""
        end = self._at + size
        if end <= len(self._chunk):
            self._at = end
        else:
            for _ in self.pieces(size):
                pass

    def skip_padding(self, size: int) -> None:
        """Skip padding if it is there: like Go, do not require it after the last entry."""
        end = self._at + size
        if end <= len(self._chunk):
            self._at = end
        else:
            for _ in self._up_to(size):
                pass

    def begin_content(self) -> None:
        """Withhold what is read from here on from ``keep``."""
        if self._keep and self._kept < self._at:
            self._keep(self._chunk[self._kept : self._at])
        self._kept = _WITHHELD

    def end_content(self) -> None:
        """Give ``keep`` what is read from here on."""
        self._kept = self._at

    def drain(self) -> None:
        """Read all remaining chunks, so that checksums cover them."""
        while self._advance():
            pass

    def _up_to(self, size: int) -> Iterator[memoryview]:
        while size:
            if self._at == len(self._chunk) and not self._advance():
                return
            start = self._at
            piece = memoryview(self._chunk)[start : start + size]
            self._at = start + len(piece)
            size -= len(piece)
            yield piece

    def _advance(self) -> bool:
        if self._keep and self._kept != _WITHHELD:
            self._keep(self._chunk[self._kept :])
            self._kept = 0
        self._before += len(self._chunk)
        self._chunk, self._at = b"", 0
        for chunk in self._chunks:
            if chunk:
                self._chunk = chunk
                return True
        return False
