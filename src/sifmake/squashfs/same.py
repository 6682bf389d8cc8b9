"""Compare files of two images, without inflating blocks whose stored bytes are equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.squashfs.format import NONE_32

if TYPE_CHECKING:
    from sifmake.squashfs.reader import Block, Node, SquashfsReader


class FileComparison:
    """Compares files of two images; remembers which fragment blocks have equal stored bytes."""

    def __init__(self, old: SquashfsReader, new: SquashfsReader) -> None:
        self._old = old
        self._new = new
        self._fragments: dict[tuple[int, int, int, int], bool] = {}
        self._numbers: dict[tuple[int, int], bool] = {}

    def same(self, before: Node, after: Node) -> bool:
        """Whether a file of the old image and a file of the new one have the same bytes.

        Raises:
            SquashfsError: An image is damaged, or its files have more bytes than the limit allows.
        """
        if before.size != after.size:
            return False
        if self._old.block_size != self._new.block_size:
            return self._old.digest(before) == self._new.digest(after)
        if before.size < self._old.block_size and NONE_32 not in (before.fragment, after.fragment):
            return self._in_equal_blocks(before, after) or self._old.tail(before) == self._new.tail(after)
        pairs = zip(self._old.blocks(before), self._new.blocks(after), strict=True)
        return all(self._alike(*pair) or self._old.content(pair[0]) == self._new.content(pair[1]) for pair in pairs)

    def _in_equal_blocks(self, before: Node, after: Node) -> bool:
        """Tell whether two small files are at the same place of fragment blocks with equal stored bytes."""
        if before.offset != after.offset:
            return False
        numbers = before.fragment, after.fragment
        known = self._numbers.get(numbers)
        if known is None:
            known = self._numbers[numbers] = self._alike(next(self._old.blocks(before)), next(self._new.blocks(after)))
        return known

    def _alike(self, first: Block, second: Block) -> bool:
        if first.offset != second.offset:
            return False
        if first.offset is None:
            return self._old.stored(first) == self._new.stored(second)
        key = (first.place, first.word, second.place, second.word)
        known = self._fragments.get(key)
        if known is None:
            known = self._fragments[key] = self._old.stored(first) == self._new.stored(second)
        return known
