"""Sparse tar members: GNU's old format and its PAX formats 0.0, 0.1 and 1.0 (GNU tar manual, appendix)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import LayerError
from sifmake.layers import pax
from sifmake.layers.tarblocks import BLOCK
from sifmake.layers.tarheader import is_gnu, number
from sifmake.limits import KIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sifmake.layers.tarblocks import Blocks
    from sifmake.limits import Limits

ZEROS = bytes(128 * KIB)
"""The zeros that holes are read as."""

_ENTRY_BYTES = 24
"""Offset and length of a region in the old format, 12 bytes each."""


class Region(NamedTuple):
    """A run of data in a file; anything outside the regions is a hole."""

    offset: int
    length: int


class SparseMap(NamedTuple):
    """Where the data of a sparse member are in the file.

    Attributes:
        size: Logical size of the file in bytes.
        regions: Data in order, none overlapping.
        map_bytes: Bytes of the data section that the map itself takes.
        name: The file's real name, empty if the header has the right name.
    """

    size: int
    regions: list[Region]
    map_bytes: int = 0
    name: bytes = b""


def old_gnu_map(header: bytes, blocks: Blocks, limits: Limits) -> SparseMap:
    """Read the map of a type ``S`` member, whose extension blocks follow its header.

    Raises:
        LayerError: The map is malformed, truncated or too long.
    """
    if not is_gnu(header):
        raise LayerError("a sparse member in another format than GNU's")
    regions: list[Region] = []
    area, extended = header[386:482], header[482]
    while True:
        _add_regions(regions, area, limits)
        if not extended:
            return SparseMap(number(header[483:495]), regions)
        block = blocks.take(BLOCK)
        area, extended = block[:504], block[504]


def _add_regions(regions: list[Region], area: bytes, limits: Limits) -> None:
    for at in range(0, len(area), _ENTRY_BYTES):
        if not area[at]:
            return
        regions.append(Region(number(area[at : at + 12]), number(area[at + 12 : at + 24])))
        _check_count(len(regions), limits)


def pax_map(records: Mapping[bytes, bytes], blocks: Blocks, size: int, limits: Limits) -> SparseMap | None:
    """Read the map that PAX records describe; in format 1.0 it is at the beginning of the data.

    Args:
        records: Of the member's extended header.
        blocks: Positioned at the member's data.
        size: Bytes in the data section, used as the logical size if the records have none.
        limits: ``sparse_regions`` and ``pax_bytes`` apply.

    Returns:
        None where the member is not sparse, or sparse in a version that is not known (then its data is taken as
        it is, like Go does).

    Raises:
        LayerError: The map is malformed, truncated or too long.
    """
    version = records.get(b"GNU.sparse.major", b""), records.get(b"GNU.sparse.minor", b"")
    in_data = version == (b"1", b"0")
    if (
        not in_data
        and version not in ((b"0", b"0"), (b"0", b"1"))
        and (any(version) or not records.get(pax.SPARSE_MAP))
    ):
        return None
    logical = pax.integer(records, b"GNU.sparse.size")
    if logical is None:
        logical = pax.integer(records, b"GNU.sparse.realsize")
    regions, map_bytes = _map_in_data(blocks, size, limits) if in_data else (_map_in_records(records, limits), 0)
    return SparseMap(size if logical is None else logical, regions, map_bytes, records.get(b"GNU.sparse.name", b""))


def _map_in_records(records: Mapping[bytes, bytes], limits: Limits) -> list[Region]:
    count = pax.decimal(records.get(b"GNU.sparse.numblocks", b""), b"GNU.sparse.numblocks")
    _check_count(count, limits)
    value = records.get(pax.SPARSE_MAP, b"")
    numbers = [pax.decimal(text, pax.SPARSE_MAP) for text in value.split(b",")] if value else []
    if len(numbers) != 2 * count:
        raise LayerError("the PAX header's sparse map does not have the announced length")
    return _pairs(numbers)


def _map_in_data(blocks: Blocks, size: int, limits: Limits) -> tuple[list[Region], int]:
    tokens = _Tokens(blocks, size, limits)
    count = tokens.next()
    _check_count(count, limits)
    regions = _pairs([tokens.next() for _ in range(2 * count)])
    return regions, tokens.consumed


class _Tokens:
    """Decimal numbers, each ended by a newline, over as many blocks as needed."""

    def __init__(self, blocks: Blocks, size: int, limits: Limits) -> None:
        self._blocks = blocks
        self._size = size
        self._most = limits.pax_bytes
        self._lines: list[bytes] = []
        self._open = b""
        self.consumed = 0

    def next(self) -> int:
        while not self._lines:
            if self.consumed + BLOCK > min(self._size, self._most):
                raise LayerError("the member's sparse map is truncated or too long")
            self.consumed += BLOCK
            *lines, self._open = (self._open + self._blocks.take(BLOCK)).split(b"\n")
            self._lines = lines[::-1]
        return pax.decimal(self._lines.pop(), pax.SPARSE_MAP)


def _pairs(numbers: list[int]) -> list[Region]:
    return [Region(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


def _check_count(count: int, limits: Limits) -> None:
    if not 0 <= count <= limits.sparse_regions:
        raise LayerError(
            f"a sparse map has {count} regions, {limits.sparse_regions} are allowed",
            hint="raise sparse-regions (limits: in sifmake.yaml)",
        )


def check_map(sparse: SparseMap, stored: int) -> None:
    """Check that regions are in order, within the file, and make up exactly the stored bytes.

    Raises:
        LayerError: They do not.
    """
    end = total = 0
    for offset, length in sparse.regions:
        if length < 0 or offset < end or offset + length > sparse.size:
            raise LayerError("the sparse map's regions overlap or lie outside the file")
        end = offset + length
        total += length
    if total != stored:
        raise LayerError(f"the sparse map describes {total} bytes of data, but the entry has {stored}")


def expand(sparse: SparseMap, pieces: Callable[[int], Iterator[memoryview]]) -> Iterator[memoryview]:
    """Yield the logical content: data from ``pieces`` (called with a length) and zeros, `ZEROS` at a time."""
    at = 0
    for offset, length in sparse.regions:
        yield from _hole(offset - at)
        yield from pieces(length)
        at = offset + length
    yield from _hole(sparse.size - at)


def _hole(size: int) -> Iterator[memoryview]:
    zeros = memoryview(ZEROS)
    while size > 0:
        yield zeros[:size]
        size -= len(ZEROS)
