"""Runs: live pieces of a pack that are neighbours there, so that an image gets them in one range."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from sifmake.layers.pack_format import FIRST_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sifmake.layers.pack_reader import Pack


class PackPiece(NamedTuple):
    """Full blocks of a content, or a fragment block with its live tails, at a place in a pack.

    Attributes:
        start: The place.
        size: Stored bytes.
        number: Of the content, or of the fragment block.
        tails: Numbers of contents; None for full blocks.
    """

    start: int
    size: int
    number: int
    tails: array[int] | None = None


class PackRun(NamedTuple):
    """Pieces that are neighbours.

    Attributes:
        start: Offset of the first one in a pack without dead data.
        size: Stored bytes of all.
        pieces: In order.
    """

    start: int
    size: int
    pieces: Sequence[PackPiece]


def find_runs(pack: Pack, pieces: Sequence[PackPiece]) -> Iterator[PackRun]:
    """Yield the runs of pieces that are in order.

    A pack of format 1 may hold blocks that no content has. They are counted out, because an image must be the same from
    packs of both formats.
    """
    dead_before = _dead_before(pack) if pack.footer.version == FIRST_VERSION else None
    first = place = end = 0
    for number, piece in enumerate(pieces):
        if piece.start != end:
            apart = piece.start - end
            if dead_before is not None:
                apart -= dead_before(piece.start) - dead_before(end)
            if apart and number > first:
                yield _run(place, pieces[first:number])
                first = number
        if first == number:
            place = piece.start - (dead_before(piece.start) if dead_before is not None else 0)
        end = piece.start + piece.size
    if first < len(pieces):
        yield _run(place, pieces[first:])


def _run(start: int, pieces: Sequence[PackPiece]) -> PackRun:
    return PackRun(start, sum([piece.size for piece in pieces]), pieces)


def _dead_before(pack: Pack) -> Callable[[int], int]:
    """Return a function that tells how many bytes before a place of a pack belong to no content."""
    ranges = [(content.start, content.stored) for content in pack.contents.large.values()]
    ranges += [(start, word & 0xFFFFFF) for start, word, _ in pack.fragments]
    ranges.sort()
    places, totals, end = array("Q"), array("Q", [0]), 0
    for start, size in ranges:
        if start > end:
            places.append(end)
            totals.append(totals[-1] + start - end)
        end = max(end, start + size)
    return lambda place: totals[bisect_left(places, place)]
