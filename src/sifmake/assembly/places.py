"""Where each file's content is in an image, in columns, because a layer may have a million files."""

from __future__ import annotations

from array import array
from itertools import compress
from typing import TYPE_CHECKING

from sifmake.layers.contents import DIGEST_SIZE
from sifmake.squashfs import Placement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sifmake.layers.contents import Contents

_NUMBER = 0xFFFFFFFF
_BUCKET = 20_000
"""Most contents whose digests are in memory as objects at the same time."""


class LayerPlaces:
    """Where the contents of one layer are in the image.

    Attributes:
        contents: Contents of the layer.
        large: Those of at least one block, by number.
        wanted: Which of them are copied from this layer.
        elsewhere: Where the others come from: number of the layer, shifted left by 32, and number of the content in it.
        starts: Offset of each content's full blocks, if any, from the start of the squashfs, by number.
        fragments: Number of the image's fragment block with the tail of each content; -1 while unknown.
        offsets: Offset of each tail in that block.
    """

    def __init__(self, contents: Contents, wanted: bytearray) -> None:
        self.contents = contents
        self.large = contents.large
        self.wanted = wanted
        self.elsewhere: dict[int, int] = {}
        self.starts: dict[int, int] = {}
        self.fragments = array("q", [-1]) * len(contents)
        self.offsets = array("I", contents.offsets)

    @property
    def numbers(self) -> Iterable[int]:
        """Numbers of the contents that are copied from this layer."""
        return compress(range(len(self.wanted)), self.wanted)

    def place_tail(self, number: int, fragment: int, offset: int) -> None:
        """Set the image's fragment block that holds a content's tail."""
        self.fragments[number], self.offsets[number] = fragment, offset

    def copy_place(self, number: int, other: LayerPlaces, other_number: int) -> None:
        """Set the place of a content to that of another layer's content with the same bytes."""
        if other_number in other.starts:
            self.starts[number] = other.starts[other_number]
        self.place_tail(number, other.fragments[other_number], other.offsets[other_number])

    def placement(self, number: int) -> Placement | None:
        """Return where a content is; None if it is not in the image."""
        fragment = self.fragments[number]
        if number in self.large:
            content = self.large[number]
            if number in self.starts:
                offset = self.offsets[number] if fragment >= 0 else 0
                return Placement(self.starts[number], content.blocks, fragment, offset, content.sparse)
        elif fragment >= 0:
            return Placement(0, b"", fragment, self.offsets[number], 0)
        return None


def share(layers: Sequence[LayerPlaces]) -> None:
    """Let each content come from the lowest layer that has it."""
    if len(layers) < 2:
        return
    digests = [places.contents.digests for places in layers]
    for some in _buckets(layers):
        owners: dict[bytes, int] = {}
        for content in some:
            layer, number = content >> 32, content & _NUMBER
            at = number * DIGEST_SIZE  # not with digest(), to save a call for each content
            owner = owners.setdefault(digests[layer][at : at + DIGEST_SIZE], content)
            if owner != content and owner >> 32 != layer:
                layers[layer].wanted[number] = 0
                layers[layer].elsewhere[number] = owner


def _buckets(layers: Sequence[LayerPlaces]) -> Iterator[array[int]]:
    """Yield layers and numbers of contents, lowest layers first: equal contents together, not all at once."""
    everything = array("Q", [layer << 32 | n for layer, places in enumerate(layers) for n in places.numbers])
    if len(everything) <= _BUCKET:
        yield everything
        return
    buckets = [array("Q") for _ in range(256)]
    for content in everything:
        buckets[layers[content >> 32].contents.digest(content & _NUMBER)[0]].append(content)
    yield from buckets


def find_wanted(layers: Sequence[LayerPlaces], digest: bytes) -> int | None:
    """Return the layer and number, as in ``elsewhere``, of a wanted content, by its SHA-256."""
    for layer, places in enumerate(layers):
        number = places.contents.find(digest)
        if number >= 0 and places.wanted[number]:
            return layer << 32 | number
    return None
