"""Runs: live pieces of a pack that are neighbours there, so that an image gets them in one range."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Sequence


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
        start: Offset of the first one in the pack.
        size: Stored bytes of all.
        pieces: In order.
    """

    start: int
    size: int
    pieces: Sequence[PackPiece]


def find_runs(pieces: Sequence[PackPiece]) -> Iterator[PackRun]:
    """Yield the runs of pieces of one pack that are in order."""
    first = end = 0
    for number, piece in enumerate(pieces):
        if piece.start != end and number > first:
            yield _run(pieces[first:number])
            first = number
        end = piece.start + piece.size
    if first < len(pieces):
        yield _run(pieces[first:])


def _run(pieces: Sequence[PackPiece]) -> PackRun:
    return PackRun(pieces[0].start, sum([piece.size for piece in pieces]), pieces)
