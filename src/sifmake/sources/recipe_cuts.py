"""Cut a SIF file into ranges: at the borders of its parts, and inside them at marks of three bytes.

A cut depends only on the bytes at it, so moved bytes are cut as before: bytes inserted or removed before them change
only the ranges around the edit. This holds for SIF files of any tool.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sifmake.errors import SifError
from sifmake.ranges import read_at
from sifmake.sif_table import OFFSET, SIZE, read_table
from sifmake.sources.recipe import LARGEST_RANGE, MOST_GRAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK = b"\xa7\x5c"
_MARK_SIZE = 3
_USUAL_FROM = 2 << 30
"""Largest file that is cut as finely as possible, bytes."""
_SUPERBLOCK = 96
"""Bytes of a squashfs superblock, which changes with every build and precedes data that do not."""
_WINDOW = 8 << 20


@dataclass(frozen=True)
class _Rule:
    """How the inside of a part is cut: before a mark if the range is long enough, or where it would be too long.

    Attributes:
        least: Bytes of a range before a mark counts.
        most: Most bytes of a range.
        mark: Finds the three bytes of a mark: two are fixed, the third one is below a bound.
    """

    least: int
    most: int
    mark: re.Pattern[bytes]


def grain_for(size: int) -> int:
    """Return the grain for a file: 0 up to 2 GiB, one more each time the size doubles, at most 6.

    The ranges have 80 KiB on average with grain 0, and twice as much with each further one.
    """
    return min(MOST_GRAIN, max(0, (size - 1) // _USUAL_FROM).bit_length())


def cut_sif(fd: int, grain: int) -> Iterator[memoryview]:
    """Yield the ranges of an open SIF file, in order and without gaps.

    Args:
        fd: The file.
        grain: How finely to cut, 0 to 6.

    Raises:
        SifError: It is not a SIF file, or was truncated meanwhile.
        OSError: It cannot be read.
    """
    rule = _rule(grain)
    for start, end in pairwise(_borders(fd)):
        yield from _cut(fd, start, end, rule)


def _rule(grain: int) -> _Rule:
    last = re.escape(bytes([(256 >> grain) - 1]))
    most = min(1 << (20 + grain), LARGEST_RANGE)
    return _Rule(1 << (14 + grain), most, re.compile(re.escape(_MARK) + b"[\\x00-" + last + b"]", re.DOTALL))


def _borders(fd: int) -> list[int]:
    """Return where the parts of a SIF file begin and end: header and table, each object, the superblock."""
    table = read_table(fd)
    borders = {0, table.end, table.size}
    for row in table.rows:
        borders |= {row[OFFSET], row[OFFSET] + row[SIZE]}
    if table.primary is not None and table.primary[SIZE] > _SUPERBLOCK:
        borders.add(table.primary[OFFSET] + _SUPERBLOCK)
    return sorted(borders)


def _cut(fd: int, start: int, end: int, rule: _Rule) -> Iterator[memoryview]:
    """Yield the ranges between two borders."""
    window, base = memoryview(b""), start
    while start < end:
        reach = min(end, start + rule.most + _MARK_SIZE)
        if base + len(window) < reach:
            window, base = memoryview(read_at(fd, min(end - start, max(_WINDOW, 2 * rule.most)), start)), start
            if base + len(window) < reach:
                raise SifError("the file was truncated while it was read")
        found = rule.mark.search(window, start + rule.least - base, reach - base)
        stop = base + found.start() if found else min(end, start + rule.most)
        yield window[start - base : stop - base]
        start = stop
