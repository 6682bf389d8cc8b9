"""The residue of a tar stream: everything except the contents of files, so that the exact stream can be rebuilt.

The residue is a sequence of records in one zstd frame. Each record is a literal, 16 bits for its length and its bytes,
and a byte that says which part of a content of the pack follows in the stream:

::

    0  nothing
    1  the next content: the whole of the one after the highest number so far
    2  the whole of a content: its number, 32 bits
    3  a part of a content: its number, 32 bits; offset and length, 64 bits each

Contents are named by number, so the residue does not depend on the codec of the pack.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sifmake.errors import PackDamagedError
from sifmake.layers.codec import zstd_module
from sifmake.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sifmake.layers.sparse import Region

_SMALL: Final = 4 * MIB
_SHARE: Final = 20
MOST_RESIDUE: Final = 64 * MIB
"""Largest residue in bytes: it is held in memory until the layer has been read. A million entries take about 20 MiB."""

_LITERAL: Final = 32 << 10
"""Bytes at which a long literal is cut, so that equal streams give equal records whatever pieces they come in."""
_TOGETHER: Final = 128 << 10
"""Bytes given to the encoder at once."""
_LEVEL: Final = 3
_WINDOW_LOG: Final = 21
"""Window of the frame, log2 of bytes: that of level 3. A reader refuses a larger one, because it takes memory."""

_NOTHING, _NEXT, _WHOLE, _PART = range(4)
_LENGTH = struct.Struct("<H")
_NUMBER = struct.Struct("<I")
_PART_FIELDS = struct.Struct("<IQQ")
_LONGEST_RECORD: Final = _LENGTH.size + 0xFFFF + 1 + _PART_FIELDS.size
_NEXT_BYTE = bytes([_NEXT])


class Record(NamedTuple):
    """A part of the stream.

    Attributes:
        literal: Its first bytes.
        content: Number of the content that follows; -1 for none.
        offset: First byte of the content that follows.
        length: Bytes of the content that follow; -1 for all of them.
    """

    literal: bytes
    content: int = -1
    offset: int = 0
    length: int = -1


class ResidueWriter:
    """Collects the residue while the layer is read; the bytes depend on the stream and its contents only."""

    def __init__(self) -> None:
        self._encoder: Any = None
        self._records = bytearray()
        self._literal = bytearray()
        self._encoded = bytearray()
        self._next = 0
        self._size = 0
        self._is_too_large = False

    def add_literal(self, data: bytes) -> None:
        """Add bytes of the stream that belong to no content."""
        self._size += len(data)
        if self._is_too_large:
            return
        literal = self._literal
        literal += data
        if len(literal) > _LITERAL:
            for at in range(0, len(literal) - _LITERAL, _LITERAL):
                self._add_record(literal[at : at + _LITERAL], b"\0")
            del literal[: (len(literal) - 1) // _LITERAL * _LITERAL]

    def refer(self, content: int, regions: Sequence[Region] | None) -> None:
        """Add a content of the pack.

        Args:
            content: Its number.
            regions: The parts of it that the stream has, one after another; None for the whole.
        """
        if self._is_too_large:
            return
        if regions is None:
            end = _NEXT_BYTE if content == self._next else bytes([_WHOLE]) + _NUMBER.pack(content)
            self._end_literal(end)
        else:
            for offset, length in regions:
                if length:
                    self._end_literal(bytes([_PART]) + _PART_FIELDS.pack(content, offset, length))
        self._next = max(self._next, content + 1)

    def finish(self, tar_size: int) -> bytes:
        """Return the residue; nothing if it is larger than 4 MiB and than a twentieth of the stream, or than 64 MiB.

        Args:
            tar_size: Bytes of the stream.
        """
        if not self._is_too_large:
            self._end_literal(b"\0")
            self._encode(last=True)
        most = min(MOST_RESIDUE, max(_SMALL, tar_size // _SHARE))
        return b"" if self._is_too_large or len(self._encoded) > most else bytes(self._encoded)

    def _end_literal(self, end: bytes) -> None:
        self._add_record(self._literal, end)
        self._literal.clear()

    def _add_record(self, literal: bytearray, end: bytes) -> None:
        records = self._records
        records += _LENGTH.pack(len(literal))
        records += literal
        records += end
        if len(records) >= _TOGETHER:
            self._encode()

    def _encode(self, *, last: bool = False) -> None:
        """Encode whole pieces of the records, or all that is left."""
        encoder = self._encoder
        if encoder is None:
            zstd = zstd_module()
            options = {zstd.CompressionParameter.compression_level: _LEVEL}
            options[zstd.CompressionParameter.window_log] = _WINDOW_LOG
            encoder = self._encoder = zstd.ZstdCompressor(options=options)
        if last:
            self._encoded += encoder.compress(self._records) + encoder.flush()
            return
        self._encoded += encoder.compress(self._records[:_TOGETHER])
        del self._records[:_TOGETHER]
        if len(self._encoded) > MOST_RESIDUE:
            self._is_too_large = True
            self._encoded, self._records, self._literal = bytearray(), bytearray(), bytearray()


def read_residue(pieces: Iterable[bytes]) -> Iterator[Record]:
    """Yield the records of a residue; takes memory for a few pieces of 128 KiB.

    Args:
        pieces: The compressed residue.

    Raises:
        PackDamagedError: It is not a residue.
    """
    plain = _inflated(pieces)
    ready, at, following, more = b"", 0, 0, True
    while True:
        if more and len(ready) - at < _LONGEST_RECORD:
            ready, at = ready[at:] + (piece := next(plain, b"")), 0
            more = bool(piece)
            continue
        if at == len(ready):
            return
        record, at = _record_at(ready, at, following)
        following = max(following, record.content + 1)
        yield record


def _record_at(ready: bytes, at: int, following: int) -> tuple[Record, int]:
    """Return the record at an offset, and the offset of the next one."""
    try:
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(ready, at)[0]
        literal, kind = ready[start:end], ready[end]
        if kind == _NEXT:
            return Record(literal, following), end + 1
        if kind == _NOTHING:
            return Record(literal), end + 1
        if kind == _WHOLE:
            return Record(literal, *_NUMBER.unpack_from(ready, end + 1)), end + 1 + _NUMBER.size
        if kind == _PART:
            return Record(literal, *_PART_FIELDS.unpack_from(ready, end + 1)), end + 1 + _PART_FIELDS.size
    except (IndexError, struct.error):
        raise _damaged("it ends inside a record") from None
    raise _damaged(f"a record of kind {kind}")


def _inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a zstd frame, behind which nothing may follow."""
    zstd = zstd_module()
    window = int(zstd.DecompressionParameter.window_log_max)
    decoder = zstd.ZstdDecompressor(options={window: _WINDOW_LOG})
    compressed = iter(pieces)
    try:
        while not decoder.eof:
            data = b""
            if decoder.needs_input and not (data := next(compressed, b"")):
                raise _damaged("its frame is truncated")
            if plain := decoder.decompress(data, _TOGETHER):
                yield plain
    except zstd.ZstdError as error:
        raise _damaged(str(error)) from error
    if decoder.unused_data or next(compressed, b""):
        raise _damaged("other bytes follow its frame")


def _damaged(why: str) -> PackDamagedError:
    return PackDamagedError(f"residue of the layer pack is damaged ({why})")
