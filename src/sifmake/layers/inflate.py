"""Uncompress a layer blob in bounded memory, recognizing the compression from the bytes and not from the media type."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sifmake.errors import LayerError
from sifmake.layers.compressed_input import CompressedInput
from sifmake.layers.decoders import Gzip, Zstd, inflate_members, merge
from sifmake.limits import MIB
from sifmake.sources.compression import GZIP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sifmake.layers.blocks import Workers
    from sifmake.layers.decoders import Codec
    from sifmake.limits import Limits

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


def inflate(
    read: Callable[[int], bytes], limits: Limits, *, chunk: int = MIB, workers: Workers | None = None
) -> Iterator[bytes]:
    """Yield the uncompressed bytes of a layer.

    Gzip (all members, RFC 1952) and zstd (all frames, skippable ones too, RFC 8878) are recognized by their magic;
    anything else is passed on unchanged, as a plain tar.

    Args:
        read: Returns up to so many compressed bytes, ``b""`` at the end only.
        limits: ``layer_bytes``, ``inflate_ratio``, ``inflate_ratio_from`` and ``zstd_window_log`` apply.
        chunk: Most bytes in one piece, at least 64 KiB.
        workers: Threads on which to inflate several members at a time; by default, the caller's does everything.

    Raises:
        LayerError: The stream is damaged, truncated, followed by other bytes, of a refused compression, or beyond a
            limit.
    """
    source = CompressedInput(read)
    codec = _detect(source.head(HEAD_BYTES), limits)
    total = 0
    for piece in merge(_pieces(source, codec, limits, chunk, workers), chunk):
        total += len(piece)
        _check_bomb(total, source.count, limits)
        yield piece


def _pieces(
    source: CompressedInput, codec: Codec | None, limits: Limits, chunk: int, workers: Workers | None
) -> Iterator[bytes]:
    if codec is None:
        return _plain(source)
    if workers is None:
        return inflate_members(source, codec, chunk)
    from sifmake.layers.inflate_ahead import MembersAhead

    return iter(MembersAhead(source, codec, chunk, workers, partial(_is_bounded, limits)))


def _is_bounded(limits: Limits, total: int, consumed: int) -> bool:
    return total <= limits.layer_bytes and not _is_bomb(limits, total, consumed)


def _is_bomb(limits: Limits, total: int, consumed: int) -> bool:
    return total > limits.inflate_ratio_from and total > consumed * limits.inflate_ratio


def _check_bomb(total: int, consumed: int, limits: Limits) -> None:
    if total > limits.layer_bytes:
        raise LayerError(
            f"the layer is larger than {limits.layer_bytes} bytes when uncompressed",
            hint="raise layer-bytes (limits: in sifmake.yaml)",
        )
    if _is_bomb(limits, total, consumed):
        raise LayerError(
            f"{consumed} compressed bytes inflate to {total}, more than {limits.inflate_ratio} times as many",
            hint="this looks like a decompression bomb",
        )


def _detect(head: bytes, limits: Limits) -> Codec | None:
    if head.startswith(GZIP):
        return Gzip()
    zstd = Zstd(limits.zstd_window_log)
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


def _plain(source: CompressedInput) -> Iterator[bytes]:
    while piece := source.next():
        yield piece
