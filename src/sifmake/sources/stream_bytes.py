"""Bytes of a stream, read once and in order: a complete archive, and its members."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError, LimitError
from sifmake.sources.content import Member

if TYPE_CHECKING:
    from contextlib import ExitStack

    from sifmake.sources.base import BlobReader

_CHUNK = 1 << 20


class StreamBytes:
    """An archive's bytes, read forward, with a view ahead.

    Attributes:
        position: Position of the next byte.
        broken: Whether reading has failed.
    """

    def __init__(self, reader: BlobReader, most: int) -> None:
        """Begin.

        Args:
            reader: Gives the bytes.
            most: Largest archive that is read, bytes.
        """
        self.position = 0
        self.broken = False
        self._reader = reader
        self._most = most
        self._chunk = b""
        self._at = 0

    def head(self, size: int) -> bytes:
        """Return the next bytes without consuming them; fewer than ``size`` only at the end."""
        while len(self._chunk) - self._at < size and (more := self._fetch()):
            self._chunk, self._at = self._chunk[self._at :] + more, 0
        return self._chunk[self._at : self._at + size]

    def some(self, size: int) -> bytes:
        """Return up to ``size`` bytes, none at the end only."""
        if self._at == len(self._chunk):
            self._chunk, self._at = self._fetch(), 0
        data = self._chunk[self._at : self._at + size]
        self._at += len(data)
        self.position += len(data)
        return data

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end only."""
        parts = []
        while size and (data := self.some(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def skip(self, size: int) -> bool:
        """Skip bytes; False if the stream ends before."""
        while size and (data := self.some(size)):
            size -= len(data)
        return not size

    def drain(self) -> None:
        """Read to the end, so that checksums there are checked."""
        while self.some(_CHUNK):
            pass

    def _fetch(self) -> bytes:
        try:
            data = self._reader.read(_CHUNK)
        except BaseException:
            self.broken = True
            raise
        if self.position + len(data) > self._most:
            self.broken = True
            hint = "raise layer-bytes (limits: in sifmake.yaml)"
            raise LimitError(f"the archive is larger than {self._most} bytes", hint=hint)
        return data


class MemberBytes:
    """The bytes of the present member of an archive."""

    def __init__(self, archive: StreamBytes, size: int) -> None:
        self._archive = archive
        self._left = size

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the member's end."""
        if not self._left:
            return b""
        data = self._archive.some(min(size, self._left))
        if not data:
            self._archive.broken = True
            position = self._archive.position
            raise IntegrityError(f"the archive is truncated: it ends at byte {position} inside a member")
        self._left -= len(data)
        return data

    def read_all(self) -> bytes:
        """Return all that is left."""
        parts = []
        while data := self.read(self._left):
            parts.append(data)
        return b"".join(parts)


class Prefixed:
    """Bytes that were already read, followed by the rest."""

    def __init__(self, head: bytes, reader: BlobReader) -> None:
        self._head = head
        self._reader = reader

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        if not self._head:
            return self._reader.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data


class StreamMember(Member):
    """A member for which a separate stream was opened."""

    def __init__(self, archive: StreamBytes, size: int, opened: ExitStack) -> None:
        super().__init__(-1, 0, size)
        self._archive = archive
        self._bytes = MemberBytes(archive, size)
        self._opened = opened

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, all that is left when negative; empty at the end."""
        data = self._bytes.read_all() if size < 0 else self._bytes.read(size)
        self._position += len(data)
        return data

    def peek(self, size: int) -> bytes:
        """Return the next bytes without going on."""
        return self._archive.head(min(size, self._end - self._position))

    def close(self) -> None:
        """End the stream."""
        self._opened.close()


class PipeBytes:
    """Bytes from a pipe, with look-ahead."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ready = b""

    def peek(self, size: int) -> bytes:
        """Return the next bytes without consuming them, fewer at the end only."""
        while len(self._ready) < size and (data := os.read(self._fd, _CHUNK)):
            self._ready += data
        return self._ready[:size]

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        data = self._ready[:size] or os.read(self._fd, size)
        self._ready = self._ready[size:]
        return data
