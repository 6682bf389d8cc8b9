"""Where an image has the content of each file, in columns: a layer may have a million of them."""

from __future__ import annotations

from array import array
from itertools import compress
from typing import TYPE_CHECKING

from sifmake.squashfs import Placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sifmake.layers.contents import Contents

_NUMBER = 0xFFFFFFFF
_BUCKET = 20_000
"""Contents whose digests may be in memory as objects at the same time."""


class LayerPlaces:
    """Where the image has the contents of one layer.

    Attributes:
        contents: Of the layer.
        wanted: Which of them are taken from here.
        elsewhere: Where others are taken from: number of the layer, shifted left by 32, and of the content in it.
        starts: Of the full blocks of each content that has any, by its number: offset from the start of the squashfs.
        fragments: Number of the image's fragment block with the tail of each content; -1 where it is not known yet.
        offsets: Of each tail in that block.
    """

    def __init__(self, contents: Contents, wanted: bytearray) -> None:
        self.contents = contents
        self.wanted = wanted
        self.elsewhere: dict[int, int] = {}
        self.starts: dict[int, int] = {}
        self.fragments = array("q", [-1]) * len(contents)
        self.offsets = array("i", contents.offsets)

    @property
    def numbers(self) -> Iterable[int]:
        """Numbers of the contents that are taken from here."""
        return compress(range(len(self.wanted)), self.wanted)

    def place_tail(self, number: int, fragment: int, offset: int) -> None:
        """Say which fragment block of the image holds a content's tail."""
        self.fragments[number], self.offsets[number] = fragment, offset

    def copy_place(self, number: int, other: LayerPlaces, other_number: int) -> None:
        """Say that a content is where another layer's is, which has the same bytes."""
        if other_number in other.starts:
            self.starts[number] = other.starts[other_number]
        self.place_tail(number, other.fragments[other_number], other.offsets[other_number])

    def placement(self, number: int) -> Placement | None:
        """Return where a content is; None when it is not in the image."""
        fragment = self.fragments[number]
        if number in self.contents.large:
            content = self.contents.large[number]
            if number in self.starts:
                offset = self.offsets[number] if fragment >= 0 else 0
                return Placement(self.starts[number], content.blocks, fragment, offset, content.sparse)
        elif fragment >= 0:
            return Placement(0, b"", fragment, self.offsets[number], 0)
        return None


def share(layers: Sequence[LayerPlaces]) -> None:
    """Have each content taken from the lowest layer that is wanted to give it."""
    if len(layers) < 2:
        return
    for some in _buckets(layers):
        owners: dict[bytes, int] = {}
        for content in some:
            places, number = layers[content >> 32], content & _NUMBER
            owner = owners.setdefault(places.contents.digest(number), content)
            if owner >> 32 != content >> 32:
                places.wanted[number] = 0
                places.elsewhere[number] = owner


def _buckets(layers: Sequence[LayerPlaces]) -> Iterator[array[int]]:
    """Yield layers and numbers of contents, lowest layers first: equal contents together, not all at the same time."""
    everything = array("Q", [layer << 32 | n for layer, places in enumerate(layers) for n in places.numbers])
    if len(everything) <= _BUCKET:
        yield everything
        return
    buckets = [array("Q") for _ in range(256)]
    for content in everything:
        buckets[layers[content >> 32].contents.digest(content & _NUMBER)[0]].append(content)
    yield from buckets


def find_wanted(layers: Sequence[LayerPlaces], digest: bytes) -> int | None:
    """Return the layer and number, as in ``elsewhere``, of a content that is taken from somewhere, by its SHA-256."""
    for layer, places in enumerate(layers):
        number = places.contents.find(digest)
        if number >= 0 and places.wanted[number]:
            return layer << 32 | number
    return None
