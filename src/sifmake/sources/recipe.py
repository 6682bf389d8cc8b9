"""The recipe of a SIF file: size and SHA-256 of each of its ranges, so that an update downloads only what changed.

The format, byte by byte, is in docs/reference/formats.md. A recipe is an untrusted hint: it says which bytes an older
file may have, but only the SHA-256 of the complete file decides whether they are right.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import IntegrityError, LimitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RECIPE = "application/vnd.sifmake.recipe.v1"
"""Media type of a recipe, and artifact type of its manifest."""
MAGIC = b"SIFRECIP"
HEADER = Struct("<8sIIQ32s")
"""Magic, grain, number of ranges; size and SHA-256 of the file."""
ROW = Struct("<I32s")
"""Size and SHA-256 of a range."""
MOST_GRAIN = 6
LARGEST_RANGE = 16 << 20
"""Most bytes of a range, so that a reader needs little memory."""


class _Range(NamedTuple):
    """Consecutive bytes of a SIF file.

    Attributes:
        start: Offset of the first byte.
        size: Bytes, at least one.
        digest: SHA-256 of the bytes.
    """

    start: int
    size: int
    digest: bytes


@dataclass(frozen=True)
class Recipe:
    """The ranges of one SIF file, in order and without gaps.

    Attributes:
        grain: How finely the file is cut; see :mod:`~sifmake.sources.recipe_cuts`.
        size: Bytes of the file.
        digest: Its SHA-256, as ``sha256:...``.
        rows: Size and SHA-256 of each range, as in the format.
    """

    grain: int
    size: int
    digest: str
    rows: bytes

    def __iter__(self) -> Iterator[_Range]:
        """Yield the ranges."""
        start = 0
        for size, digest in ROW.iter_unpack(self.rows):
            yield _Range(start, size, digest)
            start += size

    def encode(self) -> bytes:
        """Return the bytes of the recipe; the same for the same file."""
        digest = bytes.fromhex(self.digest.partition(":")[2])
        return HEADER.pack(MAGIC, self.grain, len(self.rows) // ROW.size, self.size, digest) + self.rows


def make_recipe(grain: int, pieces: Iterable[memoryview], digest: str, limit: int) -> Recipe:
    """Return the recipe of a file that was cut.

    Args:
        grain: How it was cut.
        pieces: Its ranges, in order.
        digest: SHA-256 of the file, as ``sha256:...``.
        limit: Most bytes of a recipe.

    Raises:
        LimitError: There are too many ranges.
    """
    rows, size = bytearray(), 0
    for piece in pieces:
        rows += ROW.pack(len(piece), hashlib.sha256(piece).digest())
        size += len(piece)
        _check_size(HEADER.size + len(rows), limit)
    return Recipe(grain, size, digest, bytes(rows))


def parse_recipe(data: bytes, limit: int) -> Recipe:
    """Return a recipe from its bytes; the format cannot express overlaps and gaps.

    Args:
        data: The bytes.
        limit: Most bytes of a recipe.

    Raises:
        IntegrityError: They are not a recipe.
        LimitError: It is too large.
    """
    _check_size(len(data), limit)
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise IntegrityError("this is not a recipe of a SIF file")
    _, grain, count, size, digest = HEADER.unpack_from(data)
    rows = data[HEADER.size :]
    if len(rows) != count * ROW.size:
        raise IntegrityError(f"the recipe has {len(rows)} bytes for {count} ranges")
    if grain > MOST_GRAIN:
        raise IntegrityError(f"the recipe has grain {grain}, the largest is {MOST_GRAIN}")
    sizes = [size for size, _ in ROW.iter_unpack(rows)]
    if not all(0 < size <= LARGEST_RANGE for size in sizes):
        raise IntegrityError("the recipe has a range that is empty or too large")
    if sum(sizes) != size:
        raise IntegrityError(f"the ranges of the recipe have {sum(sizes)} bytes, but the file has {size}")
    return Recipe(grain, size, f"sha256:{digest.hex()}", rows)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise LimitError(f"the recipe has more than {limit} bytes", hint="raise recipe-bytes (limits: in sifmake.yaml)")
