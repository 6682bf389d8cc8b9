"""Archives as seekable files: compressed ones are inflated once, to a temporary file without a name."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from sifmake.errors import IntegrityError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.limits import Limits
    from sifmake.sources.settings import SourceSettings

CHUNK = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_OTHERS = {b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x04\x22\x4d\x18": "lz4"}


def open_seekable(path: Path, settings: SourceSettings) -> int:
    """Open an archive and return a descriptor of its uncompressed bytes.

    Raises:
        SourceError: There is no such file.
        IntegrityError: Its compression is damaged, refused, or beyond a limit.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceError(f"the archive cannot be opened ({error.strerror})") from None
    with file:
        if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
            raise SourceError("this is a folder and no archive", hint="use oci: for a layout")
        return _seekable(file, settings)


def spool(file: BinaryIO, settings: SourceSettings, limit: int) -> int:
    """Copy a stream to a temporary file without a name and return its descriptor.

    Raises:
        IntegrityError: It is longer than ``limit`` bytes.
    """
    with tempfile.TemporaryFile(dir=settings.spool_folder()) as out:
        total = 0
        while data := file.read(CHUNK):
            total += len(data)
            if total > limit:
                raise IntegrityError(f"the archive is larger than {limit} bytes")
            out.write(data)
        out.flush()
        return os.dup(out.fileno())


def is_compressed(head: bytes) -> bool:
    """Tell whether a stream with this beginning is compressed in a way that is read.

    Raises:
        IntegrityError: It is compressed in another way.
    """
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise IntegrityError(f"it is compressed with {name}", hint="unpack it first, or use gzip or zstd")
    return head.startswith((GZIP, ZSTD))


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def tell(self) -> int: ...


class Inflated:
    """The uncompressed bytes of a gzip or zstd stream, with all its members and frames, in bounded pieces."""

    def __init__(self, file: _Stream, head: bytes, limits: Limits) -> None:
        self._limits = limits
        self._file, errors = _open_gzip(file) if head.startswith(GZIP) else _open_zstd(file, limits)
        self._errors: tuple[type[Exception], ...] = (*errors, EOFError, OSError)
        self._raw = file
        self._total = 0

    def read(self, size: int = CHUNK, /) -> bytes:
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


def _seekable(file: BinaryIO, settings: SourceSettings) -> int:
    regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    if not regular:
        with os.fdopen(spool(file, settings, settings.limits.layer_bytes), "rb") as copy:
            copy.seek(0)
            return _seekable(copy, settings)
    head = os.pread(file.fileno(), 8, 0)
    if not is_compressed(head):
        return os.dup(file.fileno())
    inflated = cast("BinaryIO", Inflated(file, head, settings.limits))
    return spool(inflated, settings, settings.limits.layer_bytes)


def _open_gzip(file: _Stream) -> tuple[BinaryIO, tuple[type[Exception], ...]]:
    from isal import igzip, igzip_lib

    opened: Any = igzip
    errors: Any = igzip_lib.IsalError
    return opened.IGzipFile(fileobj=file), (errors,)


def _open_zstd(file: _Stream, limits: Limits) -> tuple[BinaryIO, tuple[type[Exception], ...]]:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    options = {int(zstd.DecompressionParameter.window_log_max): limits.zstd_window_log}
    opened: Any = zstd.ZstdFile(cast("BinaryIO", file), options=options)
    return opened, (zstd.ZstdError,)
