"""Inflating the blocks of an image, never to more than was asked for."""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING

from sifmake.errors import SquashfsError
from sifmake.squashfs import format as fmt

if TYPE_CHECKING:
    from collections.abc import Callable


def inflater(compression: int) -> Callable[[bytes, int], bytes]:
    """Return what inflates a block: takes its bytes and the most that may come out.

    Args:
        compression: As the superblock has it.

    Raises:
        SquashfsError: It is neither gzip nor zstd; the function raises it for a damaged block.
    """
    if compression == fmt.COMPRESSION_IDS["gzip"]:
        return _inflate_zlib
    if compression == fmt.COMPRESSION_IDS["zstd"]:
        return _inflate_zstd
    raise SquashfsError("the blocks are compressed neither by gzip nor by zstd")


def _inflate_zlib(data: bytes, largest: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        return inflater.decompress(data, largest)
    except zlib.error as error:
        raise SquashfsError(f"a block is damaged ({error})") from None


def _inflate_zstd(data: bytes, largest: int) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    try:
        return zstd.ZstdDecompressor().decompress(data, largest)
    except zstd.ZstdError as error:
        raise SquashfsError(f"a block is damaged ({error})") from None
