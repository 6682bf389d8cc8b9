"""Decompression of archives and of layers in them; the format is recognized from the first bytes."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from sifmake.errors import IntegrityError, LimitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.limits import Limits

_CHUNK = 1 << 20
_FED = 64 << 10
_MAGIC_SIZE = 10
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes 1 to 3 of a skippable frame; byte 0 is 0x50 to 0x5f."""
_XZ, _BZIP2, _LZ4 = b"\xfd7zXZ\x00", re.compile(rb"BZh[1-9](?:1AY&|\x17rE8|\Z)"), b"\x04\x22\x4d\x18"
_XZ_MEMORY = "Memory usage limit"
"""Part of liblzma's message."""
_SMALL_RATIO_FROM = 4
"""How much earlier to check the ratio of xz and bzip2, because they are slower."""


def is_compressed(head: bytes) -> bool:
    """Tell whether a stream with this beginning is compressed in a supported format.

    Raises:
        IntegrityError: It is compressed in another format.
    """
    if head.startswith(_LZ4):
        raise IntegrityError("it is compressed with lz4", hint="unpack it first, or use gzip or zstd")
    return begins_compressed(head) or begins_as_xz_or_bzip2(head)


def begins_as_xz_or_bzip2(head: bytes) -> bool:
    """Tell whether a stream with this beginning is xz or bzip2, which archives and layers in them may be."""
    return head.startswith(_XZ) or _BZIP2.match(head) is not None


def begins_compressed(head: bytes) -> bool:
    """Tell whether a stream with this beginning is gzip or zstd, perhaps with a skippable frame first (RFC 8878)."""
    return head.startswith((GZIP, ZSTD)) or (head[1:4] == _ZSTD_SKIPPABLE and head[0] >> 4 == 5)


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Counted:
    """A reader as a raw file that only goes forward."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._reader.read(size if size >= 0 else _CHUNK)
        self._count += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        return self._count


class _Streams:
    """The content of consecutive xz or bzip2 streams, with zeros between and after them."""

    def __init__(self, file: _Counted, new: Callable[[], Any], begins: Callable[[bytes], bool]) -> None:
        self._file = file
        self._new = new
        self._begins = begins
        self._decoder = new()

    def read(self, size: int) -> bytes:
        while True:
            given = self._next_stream() if self._decoder.eof else b""
            if self._decoder.eof:
                return b""
            if not given and self._decoder.needs_input and not (given := self._file.read(_FED)):
                raise EOFError("the stream is truncated")
            if data := self._decoder.decompress(given, size):
                return bytes(data)

    def _next_stream(self) -> bytes:
        """Begin the next stream and return its first bytes; none at the end."""
        rest: bytes = self._decoder.unused_data.lstrip(b"\0")
        while len(rest) < _MAGIC_SIZE and (more := self._file.read(_FED)):
            rest = (rest + more).lstrip(b"\0")
        if rest and not self._begins(rest):
            raise EOFError("other data follows the stream")
        if rest:
            self._decoder = self._new()
        return rest


class Inflated:
    """The uncompressed bytes of all members and frames of a compressed stream, in bounded pieces."""

    def __init__(self, reader: _Reader, head: bytes, limits: Limits) -> None:
        """Begin.

        Args:
            reader: Gives the compressed bytes.
            head: The first of them.
            limits: ``layer_bytes``, ``inflate_ratio``, ``inflate_ratio_from``, ``zstd_window_log`` and
                ``xz_memory_bytes`` apply.
        """
        self._limits = limits
        self._ratio_from = limits.inflate_ratio_from
        self._raw = _Counted(reader)
        if begins_as_xz_or_bzip2(head):
            self._ratio_from //= _SMALL_RATIO_FROM
            self._file, errors = _open_streams(self._raw, head, limits)
        else:
            self._file, errors = _open_gzip(self._raw) if head.startswith(GZIP) else _open_zstd(self._raw, limits)
        self._errors: tuple[type[Exception], ...] = (*errors, EOFError, OSError)
        self._total = 0

    def consumed(self) -> int:
        """Return how many compressed bytes were read."""
        return self._raw.tell()

    def read(self, size: int = _CHUNK, /) -> bytes:
        """Return up to ``size`` bytes, empty at the end.

        Raises:
            IntegrityError: The stream is damaged or exceeds a limit.
        """
        try:
            data = self._file.read(size)
        except self._errors as error:
            if _XZ_MEMORY in str(error):
                what = f"it needs more than {self._limits.xz_memory_bytes} bytes of memory to unpack"
                hint = "raise xz-memory-bytes (limits: in sifmake.yaml), or compress it with xz -6"
                raise LimitError(what, hint=hint) from None
            raise IntegrityError(f"the compressed stream is damaged ({error})") from None
        self._total += len(data)
        limits = self._limits
        bomb = self._total > max(self._ratio_from, self._raw.tell() * limits.inflate_ratio)
        if bomb or self._total > limits.layer_bytes:
            raise IntegrityError(
                f"{self._raw.tell()} compressed bytes became {self._total}", hint="this looks like a decompression bomb"
            )
        return data


def _open_streams(file: _Counted, head: bytes, limits: Limits) -> tuple[_Reader, tuple[type[Exception], ...]]:
    if not head.startswith(_XZ):
        from bz2 import BZ2Decompressor

        return _Streams(file, BZ2Decompressor, begins_as_xz_or_bzip2), (ValueError,)
    import lzma

    def new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.xz_memory_bytes)

    return _Streams(file, new, begins_as_xz_or_bzip2), (lzma.LZMAError,)


def _open_gzip(file: _Counted) -> tuple[_Reader, tuple[type[Exception], ...]]:
    from isal import igzip, igzip_lib

    opened: Any = igzip
    errors: Any = igzip_lib.IsalError
    return opened.IGzipFile(fileobj=file), (errors,)


def _open_zstd(file: _Counted, limits: Limits) -> tuple[BinaryIO, tuple[type[Exception], ...]]:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    options = {int(zstd.DecompressionParameter.window_log_max): limits.zstd_window_log}
    opened: Any = zstd.ZstdFile(cast("BinaryIO", file), options=options)
    return opened, (zstd.ZstdError,)
