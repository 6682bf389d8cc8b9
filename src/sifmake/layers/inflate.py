"""Uncompress a layer blob in bounded memory, recognizing the compression from the bytes and not from the media type."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

from sifmake.errors import LayerError
from sifmake.limits import KIB, MIB
from sifmake.sources.compression import GZIP, begins_compressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sifmake.limits import Limits

_READ_BYTES = 64 * KIB
"""Bytes given to a decoder at once. The rest that a decoder leaves after a member is copied, and eStargz and
zstd:chunked layers have one member per file: small reads keep that copy cheap.
"""

_GZIP_RESERVED_FLAGS = 0xE0

_REFUSED_MAGICS = {
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\xce\xb2\xcf\x81": "brotli",
    b"\x04\x22\x4d\x18": "lz4",
    b"LZIP": "lzip",
    b"\x1f\x9d": "compress (.Z)",
}
_BZIP2_BLOCK_MAGICS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
HEAD_BYTES = 10


def inflate(read: Callable[[int], bytes], limits: Limits, *, chunk: int = MIB) -> Iterator[bytes]:
    """Yield the uncompressed bytes of a layer.

    Gzip (all members, RFC 1952) and zstd (all frames, skippable ones too, RFC 8878) are recognized by their magic;
    anything else is passed on unchanged, as a plain tar.

    Args:
        read: Returns up to so many compressed bytes, ``b""`` at the end only.
        limits: ``layer_bytes``, ``inflate_ratio``, ``inflate_ratio_from`` and ``zstd_window_log`` apply.
        chunk: Most bytes in one piece, at least 64 KiB.

    Raises:
        LayerError: The stream is damaged, truncated, followed by other bytes, of a refused compression, or beyond a
            limit.
    """
    source = _Input(read)
    codec = _detect(source.head(HEAD_BYTES), limits)
    pieces = _plain(source) if codec is None else _members(source, codec, chunk)
    total = 0
    for piece in _merge(pieces, chunk):
        total += len(piece)
        _check_bomb(total, source.count, limits)
        yield piece


def _check_bomb(total: int, consumed: int, limits: Limits) -> None:
    if total > limits.layer_bytes:
        raise LayerError(
            f"the layer is larger than {limits.layer_bytes} bytes when uncompressed",
            hint="raise layer-bytes (limits: in sifmake.yaml)",
        )
    if total > limits.inflate_ratio_from and total > consumed * limits.inflate_ratio:
        raise LayerError(
            f"{consumed} compressed bytes inflate to {total}, more than {limits.inflate_ratio} times as many",
            hint="this looks like a decompression bomb",
        )


class _Input:
    """Compressed bytes that can be peeked at or put back.

    Attributes:
        count: Bytes handed out so far.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._ready = b""
        self.count = 0

    def head(self, size: int) -> bytes:
        """Return the next ``size`` bytes without consuming them; fewer only at the end."""
        while len(self._ready) < size and (data := self._read(_READ_BYTES)):
            self._ready += data
        return self._ready[:size]

    def next(self) -> bytes:
        """Return some bytes, none at the end."""
        data, self._ready = self._ready or self._read(_READ_BYTES), b""
        self.count += len(data)
        return data

    def put_back(self, data: bytes) -> None:
        """Take back the last bytes of the piece that was handed out last."""
        self.count -= len(data)
        self._ready = data


class _Decoder(Protocol):
    """The common base of the decoders of isal and zstd: one member or frame each."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
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
        """Tell whether a member begins here; isal itself does not check the reserved flags."""
        if not head.startswith(GZIP):
            return False
        if len(head) > 3 and head[3] & _GZIP_RESERVED_FLAGS:
            raise LayerError("gzip member with reserved flags set")
        return True


class _Zstd:
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


def _detect(head: bytes, limits: Limits) -> _Gzip | _Zstd | None:
    if head.startswith(GZIP):
        return _Gzip()
    zstd = _Zstd(limits.zstd_window_log)
    if zstd.starts(head):
        return zstd
    for magic, name in _REFUSED_MAGICS.items():
        # A file name may begin with "BZh", so the magic of the block after it is checked too.
        if head.startswith(magic) and (name != "bzip2" or head[4:] in _BZIP2_BLOCK_MAGICS):
            raise LayerError(
                f"the layer is compressed with {name}, which image layers do not use",
                hint="push the image again with gzip or zstd layers",
            )
    return None


def _plain(source: _Input) -> Iterator[bytes]:
    while piece := source.next():
        yield piece


def _members(source: _Input, codec: _Gzip | _Zstd, chunk: int) -> Iterator[bytes]:
    """Yield what all members or frames of the source hold, one after the other."""
    while head := source.head(4):
        if not codec.starts(head):
            raise LayerError(f"{codec.name} stream has trailing garbage after {source.count} bytes")
        try:
            yield from _member(source, codec, chunk)
        except codec.error as error:
            raise LayerError(f"{codec.name} stream is damaged in its first {source.count} bytes ({error})") from error


def _member(source: _Input, codec: _Gzip | _Zstd, chunk: int) -> Iterator[bytes]:
    decoder = codec.decoder()
    while not decoder.eof:
        data = b""
        if decoder.needs_input and not (data := source.next()):
            raise LayerError(f"{codec.name} stream is truncated after {source.count} bytes")
        if piece := decoder.decompress(data, chunk):
            yield piece
    source.put_back(decoder.unused_data)


def _merge(pieces: Iterator[bytes], chunk: int) -> Iterator[bytes]:
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
