"""Compress and inflate squashfs blocks, and identify the encoder."""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

import deflate
import msgspec

from sifmake.block_compression import Compression, block_format, split_compression
from sifmake.errors import PackDamagedError
from sifmake.memory import demand_room, is_limited

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

BLOCK_SIZE = 128 << 10
"""Bytes of a full data block, the default of mksquashfs."""

STORED_UNCOMPRESSED = 1 << 24
"""Bit of a squashfs block word that marks a block stored uncompressed (squashfs 4.0, data block sizes)."""
_ZLIB_HEADER = b"\x78"
"""First byte of blocks of all encoders: DEFLATE, window of 32 KiB (RFC 1950). Readers refuse more, our inflater not."""


class Codec(msgspec.Struct, frozen=True, dict=True):
    """One way to compress blocks; equal codecs with equal fingerprints give equal bytes.

    Attributes:
        name: ``gzip`` (zlib streams by libdeflate, read by every kernel), ``fast`` (zlib streams by ISA-L) or ``zstd``.
        level: The library's level.
    """

    name: Compression
    level: int

    @cached_property
    def compress(self) -> Callable[[Buffer], Buffer]:
        """One-shot compression of a block; releases the GIL; safe to call from many threads."""
        return _COMPRESSORS[self.name](self.level)

    @property
    def format(self) -> Literal["gzip", "zstd"]:
        """The name by which squashfs knows the blocks."""
        return block_format(self.name)

    def inflate(self, data: Buffer, size: int) -> bytes | bytearray:
        """Return the ``size`` bytes that a compressed block holds.

        Raises:
            PackDamagedError: The block is not such a stream.
        """
        try:
            block = _zstd_inflate(data, size) if self.name == "zstd" else _zlib_inflate(data, size)
        except self._damage as error:
            raise PackDamagedError(f"a {self.name} block cannot be inflated ({error})") from error
        if len(block) != size:
            raise PackDamagedError(f"a {self.name} block inflates to {len(block)} bytes, not {size}")
        return block

    def inflate_exactly(self, data: bytes, size: int) -> bytes:
        """Return the ``size`` bytes of a block that is one stream from its first byte to its last.

        :meth:`inflate` is faster, but does not see bytes behind the stream, which nothing else would notice.

        Raises:
            PackDamagedError: The block is not such a stream.
        """
        if self.format == "gzip" and data[:1] != _ZLIB_HEADER:
            raise PackDamagedError(f"a {self.name} block whose header the kernel may refuse")
        decoder = _zstd_decoder() if self.name == "zstd" else _zlib_decoder()
        try:
            block: bytes = decoder.decompress(data, size + 1)
        except self._exact_damage as error:
            raise PackDamagedError(f"a {self.name} block cannot be inflated ({error})") from error
        if len(block) != size or not decoder.eof or decoder.unused_data:
            raise PackDamagedError(f"a {self.name} block is not exactly one stream of {size} bytes")
        return block

    @cached_property
    def _exact_damage(self) -> tuple[type[Exception], ...]:
        if self.name == "zstd":
            return self._damage
        from isal import igzip_lib

        library: Any = igzip_lib  # whose stubs take the class for an object
        return (library.IsalError,)

    @cached_property
    def _damage(self) -> tuple[type[Exception], ...]:
        """The errors that the libraries raise for bytes that are not a valid stream."""
        return (zstd_module().ZstdError, EOFError) if self.name == "zstd" else (deflate.DeflateError, ValueError)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when this machine's library compresses differently."""
        return hashlib.sha256(self.compress(_fixed_block())).hexdigest()[:16]

    @property
    def encoder(self) -> str:
        """Codec, level and fingerprint: equal encoders give equal bytes."""
        return f"{self.name}{self.level}-{self.fingerprint}"


def make_codec(compression: str) -> Codec:
    """Return the codec of ``compression: NAME`` or ``compression: NAME:LEVEL``.

    Raises:
        UsageError: The name is not that of a compression.
    """
    return Codec(*split_compression(compression))


def _zlib_compress(level: int) -> Callable[[Buffer], Buffer]:
    compress = deflate.zlib_compress

    def compress_block(block: Buffer) -> Buffer:
        return compress(block, level)

    def compress_carefully(block: Buffer) -> Buffer:
        demand_room()
        return compress(block, level)

    return compress_carefully if _is_limited() else compress_block


def _zlib_inflate(data: Buffer, size: int) -> bytearray:
    if _is_limited():
        demand_room()
    return deflate.zlib_decompress(data, size)


@lru_cache(maxsize=1)
def _is_limited() -> bool:
    """Tell whether allocations may fail, because deflate 0.9 does not check whether it got the state it asked for."""
    return is_limited()


def zstd_module() -> Any:
    """Return the module for zstd; imported on first use because many commands need none."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14
    except ImportError:
        from backports import zstd
    return zstd


def _zstd_compress(level: int) -> Callable[[Buffer], Buffer]:
    # One-shot frames carry their content size; the kernel refuses frames of a streaming encoder.
    compress: Callable[[Buffer, int], bytes] = zstd_module().compress

    def compress_block(block: Buffer) -> bytes:
        return compress(block, level)

    return compress_block


def _isal_compress(level: int) -> Callable[[Buffer], Buffer]:
    from isal.isal_zlib import compress

    def compress_block(block: Buffer) -> bytes:
        return compress(block, level)

    return compress_block


_COMPRESSORS: dict[Compression, Callable[[int], Callable[[Buffer], Buffer]]] = {
    "gzip": _zlib_compress,
    "fast": _isal_compress,
    "zstd": _zstd_compress,
}


def _zlib_decoder() -> Any:
    from isal import igzip_lib

    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_ZLIB)


def _zstd_decoder() -> Any:
    """Return a decoder of blocks as the kernel takes them: no frame needs more memory than a block."""
    zstd = zstd_module()
    return zstd.ZstdDecompressor(options={int(zstd.DecompressionParameter.window_log_max): BLOCK_SIZE.bit_length() - 1})


def _zstd_inflate(data: Buffer, size: int) -> bytes:
    return zstd_module().ZstdDecompressor().decompress(data, max_length=size + 1)  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _fixed_block() -> bytes:
    """Return 128 KiB of text-like and binary-like bytes that exercise matching and entropy coding."""
    seeds = [hashlib.sha256(b"sifmake encoder fingerprint %d" % i).digest() for i in range(512)]
    mixed = b"".join(seed[: 4 + seed[0] % 28] + seeds[seed[1] % 16][:24] + seed.hex().encode() for seed in seeds)
    return (mixed * (BLOCK_SIZE // len(mixed) + 1))[:BLOCK_SIZE]
