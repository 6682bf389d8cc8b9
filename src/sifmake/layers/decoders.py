"""The decoders of gzip and zstd: one member, or frame, at a time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

from sifmake.errors import LayerError
from sifmake.sources.compression import GZIP, ZSTD, begins_compressed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.layers.compressed_input import CompressedInput

_GZIP_RESERVED_FLAGS = 0xE0
_GZIP_HEAD = b"\x1f\x8b\x08"
START: Final = 4
"""Bytes that decide whether what follows is a member."""
LONGEST_START: Final = 10
"""Bytes that decide whether a member may begin in the middle of other bytes."""
_GZIP_XFL = frozenset((0, 2, 4))
_GZIP_SYSTEMS = frozenset((*range(14), 255))


class _Decoder(Protocol):
    """The common base of the decoders of isal and zstd: one member or frame each."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes: ...


class Gzip:
    """Gzip (RFC 1952)."""

    name = "gzip"

    def __init__(self) -> None:
        from isal import igzip_lib

        self._library: Any = igzip_lib
        self.error: type[Exception] = self._library.IsalError

    def decoder(self) -> _Decoder:
        """Return a decoder of one member; it checks CRC-32 and length at the member's end."""
        decoder: _Decoder = self._library.IgzipDecompressor(flag=self._library.DECOMP_GZIP)
        return decoder

    def starts(self, head: bytes) -> bool:
        """Tell whether a member begins here; isal itself does not check the reserved flags.

        Raises:
            LayerError: They are set.
        """
        if not head.startswith(GZIP):
            return False
        if len(head) > 3 and head[3] & _GZIP_RESERVED_FLAGS:
            raise LayerError("gzip member with reserved flags set")
        return True

    def likely_start(self, data: bytes | bytearray, start: int) -> int:
        """Return where in the data, from an offset on, a member seems to begin; -1 for nowhere.

        Compressed bytes look like this by chance about once in 200 GB.
        """
        end = max(0, len(data) - LONGEST_START + len(_GZIP_HEAD))
        while (at := data.find(_GZIP_HEAD, start, end)) >= 0:
            flags, xfl, system = data[at + 3], data[at + 8], data[at + 9]
            if not flags & _GZIP_RESERVED_FLAGS and xfl in _GZIP_XFL and system in _GZIP_SYSTEMS:
                return at
            start = at + 1
        return -1


class Zstd:
    """Zstd (RFC 8878)."""

    name = "zstd"

    def __init__(self, window_log: int) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        self.error: type[Exception] = zstd.ZstdError
        self._new = zstd.ZstdDecompressor
        self._options = {int(zstd.DecompressionParameter.window_log_max): window_log}

    def decoder(self) -> _Decoder:
        """Return a decoder of one frame; it checks content size and checksum if the frame has them."""
        return self._new(options=self._options)

    def starts(self, head: bytes) -> bool:
        """Tell whether a frame, skippable or not, begins here."""
        return head[:2] != GZIP and begins_compressed(head)

    def likely_start(self, data: bytes | bytearray, start: int) -> int:
        """Return where in the data, from an offset on, a frame with data seems to begin; -1 for nowhere."""
        return data.find(ZSTD, start)


Codec = Gzip | Zstd


def inflate_members(source: CompressedInput, codec: Codec, chunk: int) -> Iterator[bytes]:
    """Yield what all members or frames of the source hold, one after the other; see :func:`inflate_member`."""
    while source.head(START):
        yield from inflate_member(source, codec, chunk)


def inflate_member(source: CompressedInput, codec: Codec, chunk: int) -> Iterator[bytes]:
    """Yield what the next member or frame of the source holds, in pieces of at most ``chunk`` bytes.

    Raises:
        LayerError: Something else begins there, or the member is damaged or truncated.
    """
    if not codec.starts(source.head(START)):
        raise LayerError(f"{codec.name} stream has trailing garbage after {source.count} bytes")
    try:
        yield from _decode(source, codec, chunk)
    except codec.error as error:
        raise LayerError(f"{codec.name} stream is damaged in its first {source.count} bytes ({error})") from error


def _decode(source: CompressedInput, codec: Codec, chunk: int) -> Iterator[bytes]:
    decoder = codec.decoder()
    while not decoder.eof:
        data = b""
        if decoder.needs_input and not (data := source.next()):
            raise LayerError(f"{codec.name} stream is truncated after {source.count} bytes")
        if piece := decoder.decompress(data, chunk):
            yield piece
    source.put_back(decoder.unused_data)


def merge(pieces: Iterator[bytes], chunk: int) -> Iterator[bytes]:
    """Join small pieces, so that a layer with one member per file does not arrive in tiny pieces."""
    enough = chunk // 4
    small: list[bytes] = []
    size = 0
    for piece in pieces:
        if size + len(piece) > chunk:
            yield b"".join(small)
            small, size = [], 0
        small.append(piece)
        size += len(piece)
        if size >= enough:
            yield small[0] if len(small) == 1 else b"".join(small)
            small, size = [], 0
    if small:
        yield b"".join(small)
