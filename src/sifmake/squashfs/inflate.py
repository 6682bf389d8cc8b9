"""Inflate the blocks of an image, never to more bytes than expected."""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING

from sifmake.errors import SquashfsError
from sifmake.squashfs import format as fmt

if TYPE_CHECKING:
    from collections.abc import Callable


def inflater(compression: int, block_size: int) -> Callable[[bytes, int], bytes]:
    """Return a function that inflates a block: it takes the block's bytes and the largest allowed result.

    Args:
        compression: The superblock's code for it.
        block_size: Bytes of the image's largest block, which bound zstd's window as they do in Linux.

    Raises:
        SquashfsError: The compression is neither gzip nor zstd; the function itself raises it for a damaged block.
    """
    if compression == fmt.COMPRESSION_IDS["gzip"]:
        return _inflate_zlib
    if compression == fmt.COMPRESSION_IDS["zstd"]:
        return _zstd_inflater(max(block_size, fmt.METADATA_SIZE))
    raise SquashfsError("the blocks are compressed with neither gzip nor zstd")


def _inflate_zlib(data: bytes, largest: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(data, largest + 1)
    except zlib.error as error:
        raise SquashfsError(f"a block is damaged ({error})") from None
    return _whole(content, largest, whole=inflater.eof)


def _zstd_inflater(window: int) -> Callable[[bytes, int], bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: max(window.bit_length() - 1, 10)}

    def inflate(data: bytes, largest: int) -> bytes:
        inflater = zstd.ZstdDecompressor(options=options)
        try:
            content = inflater.decompress(data, largest + 1)
        except zstd.ZstdError as error:
            raise SquashfsError(f"a block is damaged ({error})") from None
        return _whole(content, largest, whole=inflater.eof)

    return inflate


def _whole(content: bytes, largest: int, *, whole: bool) -> bytes:
    if not whole or len(content) > largest:
        raise SquashfsError(f"a block is damaged (it does not end within {largest} bytes)")
    return content
