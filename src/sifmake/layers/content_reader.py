"""Read the contents of many files of a pack, inflating a fragment block that they share only once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.layers.codec import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.layers.entry import Content
    from sifmake.layers.pack_reader import Pack


class ContentReader:
    """Reads contents of a pack; fastest when they are read in the order of the pack."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._number = -1
        self._block = memoryview(b"")

    def tail(self, content: Content) -> memoryview:
        """Return the part of a content that is in a fragment block.

        Raises:
            PackDamagedError: It cannot be inflated.
        """
        if content.fragment < 0:
            return memoryview(b"")
        if content.fragment != self._number:
            self._number, self._block = content.fragment, memoryview(self._pack.read_fragment(content.fragment))
        return self._block[content.offset : content.offset + content.size % BLOCK_SIZE]

    def pieces(self, content: Content) -> Iterator[bytes | bytearray | memoryview]:
        """Yield the bytes of a content; raises like :meth:`tail`."""
        yield from self._pack.blocks_of(content)
        tail = self.tail(content)
        if tail:
            yield tail
