"""Archives and layers inside them that are compressed as a whole, told by their first bytes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from sifmake.errors import IntegrityError

if TYPE_CHECKING:
    from sifmake.limits import Limits

_CHUNK = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes 1 to 3 of a skippable frame; byte 0 is 0x50 to 0x5f."""
_OTHERS = {b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x04\x22\x4d\x18": "lz4"}


def is_compressed(head: bytes) -> bool:
    """Tell whether a stream with this beginning is compressed in a way that is read.

    Raises:
        IntegrityError: It is compressed in another way.
    """
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise IntegrityError(f"it is compressed with {name}", hint="unpack it first, or use gzip or zstd")
    return begins_compressed(head)


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


class Inflated:
    """The uncompressed bytes of a gzip or zstd stream, with all its members and frames, in bounded pieces."""

    def __init__(self, reader: _Reader, head: bytes, limits: Limits) -> None:
        """Begin.

        Args:
            reader: Gives the compressed bytes.
            head: The first of them.
            limits: ``layer_bytes``, ``inflate_ratio``, ``inflate_ratio_from`` and ``zstd_window_log`` apply.
        """
        self._limits = limits
        self._raw = _Counted(reader)
        self._file, errors = _open_gzip(self._raw) if head.startswith(GZIP) else _open_zstd(self._raw, limits)
        self._errors: tuple[type[Exception], ...] = (*errors, EOFError, OSError)
        self._total = 0

    def consumed(self) -> int:
        """Return how many compressed bytes were read."""
        return self._raw.tell()

    def read(self, size: int = _CHUNK, /) -> bytes:
        """Return up to ``size`` bytes, empty at the end.

        Raises:
            IntegrityError: The stream is damaged or beyond a limit.
        """
        try:
            data = self._file.read(size)
        except self._errors as error:
            raise IntegrityError(f"the compressed stream is damaged ({error})") from None
        self._total += len(data)
        limits = self._limits
        bomb = self._total > max(limits.inflate_ratio_from, self._raw.tell() * limits.inflate_ratio)
        if bomb or self._total > limits.layer_bytes:
            raise IntegrityError(
                f"{self._raw.tell()} compressed bytes became {self._total}", hint="this looks like a decompression bomb"
            )
        return data


def _open_gzip(file: _Counted) -> tuple[BinaryIO, tuple[type[Exception], ...]]:
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
