"""The contents of a pack in columns: objects would take five times the memory while an image is built."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, overload

from sifmake.layers.codec import BLOCK_SIZE
from sifmake.layers.entry import Content

DIGEST_SIZE: Final = 32


class Contents(Sequence[Content]):
    """Checked contents, by number.

    Attributes:
        sizes: Logical size of each, bytes.
        fragments: Number of the fragment block with the tail of each; -1 for none.
        offsets: Offset of each tail in that block.
        digests: The SHA-256 of all, one after another.
        large: The contents of at least one block, by number; a smaller content consists of its tail only.
    """

    def __init__(self, contents: Sequence[Content]) -> None:
        self.sizes = array("Q", [content.size for content in contents])
        self.fragments = array("i", [content.fragment for content in contents])
        self.offsets = array("I", [content.offset for content in contents])
        self.large = {number: contents[number] for number, size in enumerate(self.sizes) if size >= BLOCK_SIZE}
        self.digests = b"".join([content.sha256 for content in contents])

    def digest(self, number: int) -> bytes:
        """Return the SHA-256 of a content."""
        return self.digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE]

    def find(self, digest: bytes) -> int:
        """Return the number of the content with a SHA-256, -1 if there is none; this searches all of them."""
        at = self.digests.find(digest)
        while at > 0 and at % DIGEST_SIZE:
            at = self.digests.find(digest, at + 1)
        return at // DIGEST_SIZE

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, number: int) -> Content: ...
    @overload
    def __getitem__(self, number: slice) -> list[Content]: ...
    def __getitem__(self, number: int | slice) -> Content | list[Content]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        return self.large.get(number) or Content(
            self.digest(number), self.sizes[number], 0, 0, b"", self.fragments[number], self.offsets[number]
        )
