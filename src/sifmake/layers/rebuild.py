"""Rebuild the exact tar stream of a layer from its pack and the pack's residue."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from sifmake.errors import PackDamagedError
from sifmake.layers.codec import BLOCK_SIZE
from sifmake.layers.members import most_bytes
from sifmake.layers.pack_checks import stored_size
from sifmake.layers.residue import read_residue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.layers.entry import Content
    from sifmake.layers.pack_reader import Pack
    from sifmake.layers.residue import Record
    from sifmake.limits import Limits

_FRAGMENTS_KEPT: Final = 32
"""Inflated fragment blocks that are kept, because equal small files refer back to earlier blocks."""
_RECORD_BYTES: Final = 2048
"""What a record costs at least, in bytes of the stream: a residue may consist of records of nothing."""
_WORD_BYTES: Final = 64
"""What a block word costs when another file is read, in bytes that could be inflated meanwhile."""
_ENOUGH: Final = 256 << 10
_NEVER: Final = -1


def tar_of(pack: Pack, limits: Limits) -> Iterator[bytes]:
    """Yield the tar stream of a layer; the caller compares it with the DiffID.

    Args:
        pack: A pack with a residue.
        limits: ``layer_bytes``, ``inflate_ratio`` and ``inflate_ratio_from`` bound what a pack of its size may give.

    Raises:
        PackDamagedError: The pack has no residue, is damaged, or gives more.
    """
    return iter(RebuiltTar(pack, limits))


class RebuiltTar:
    """The tar stream of a layer, for one pass.

    Args:
        pack: The pack.
        limits: See :func:`tar_of`.
    """

    def __init__(self, pack: Pack, limits: Limits) -> None:
        self._pack = pack
        self._contents = ExactContents(pack)
        self._most = most_bytes(pack.footer.file_size, limits)
        self._offset = 0
        self._records = 0
        self._begins = array("q", [_NEVER]) * len(pack.contents)

    def begins_at(self, content: int, offset: int) -> bool:
        """Tell whether the whole of a content was first written at this offset of the stream."""
        return offset != _NEVER and self._begins[content] == offset

    def __iter__(self) -> Iterator[bytes]:
        if not self._pack.has_residue:
            raise PackDamagedError("the layer pack has no residue", where=str(self._pack.path))
        try:
            yield from _joined(self._pieces())
        except PackDamagedError as error:
            raise error if error.where else error.within(str(self._pack.path)) from None

    def _pieces(self) -> Iterator[bytes]:
        for record in read_residue(self._pack.residue()):
            self._records += _RECORD_BYTES
            self._check_most()
            if record.literal:
                self._offset += len(record.literal)
                yield record.literal
            if record.content >= 0:
                for piece in self._content(record):
                    self._offset += len(piece)
                    if self._offset > self._most:
                        self._check_most()
                    yield piece

    def _content(self, record: Record) -> Iterable[bytes]:
        contents, number = self._pack.contents, record.content
        if number >= len(contents):
            raise PackDamagedError("the residue names a content that the layer pack does not have")
        size = contents.sizes[number]
        length = record.length if record.length >= 0 else size
        if record.offset + length > size:
            raise PackDamagedError("the residue refers to bytes beyond the end of a content")
        if length == size and self._begins[number] == _NEVER:
            self._begins[number] = self._offset
        return self._contents.part(number, record.offset, length)

    def _check_most(self) -> None:
        if max(self._offset, self._records, self._contents.inflated) > self._most:
            what = f"the layer pack gives more than {self._most} bytes, far more than a pack of its size may hold"
            raise PackDamagedError(what, hint="raise inflate-ratio or inflate-ratio-from (limits: in sifmake.yaml)")


class ExactContents:
    """Reads contents of a pack, and checks that each block is exactly one stream of the right size.

    Attributes:
        inflated: Bytes of all blocks that were inflated, some of them several times.
    """

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._inflate = pack.codec.inflate_exactly
        self._fragments: dict[int, bytes] = {}
        self.inflated = 0
        self._starts: tuple[int, array[int]] = (-1, array("q"))
        self._block: tuple[int, int, bytes] = (-1, -1, b"")

    def part(self, number: int, offset: int, length: int) -> Iterable[bytes]:
        """Return bytes of a content in pieces.

        Raises:
            PackDamagedError: A block of them cannot be inflated.
        """
        contents = self._pack.contents
        content = contents.large.get(number)
        if content is not None:
            return self._part_of_large(number, content, offset, offset + length)
        at = contents.offsets[number] + offset
        return (self.fragment(contents.fragments[number])[at : at + length],)

    def _part_of_large(self, number: int, content: Content, offset: int, end: int) -> Iterator[bytes]:
        while offset < end:
            index, within = divmod(offset, BLOCK_SIZE)
            block = self._block_of(number, content, index)
            piece = block[within : within + end - offset]
            if not piece:
                raise PackDamagedError("a file of the layer pack is out of range")
            yield piece
            offset += len(piece)

    def fragment(self, number: int) -> bytes:
        """Return an inflated fragment block; the latest are kept."""
        found = self._fragments.get(number)
        if found is None:
            found = self._inflated(*self._pack.fragments[number])
            if len(self._fragments) == _FRAGMENTS_KEPT:
                del self._fragments[next(iter(self._fragments))]
            self._fragments[number] = found
            self.inflated += len(found)
        return found

    def _block_of(self, number: int, content: Content, index: int) -> bytes:
        """Return a full block of a large content, or its tail."""
        if index == len(content.blocks) // 4:
            at = content.offset
            return self.fragment(content.fragment)[at : at + content.size % BLOCK_SIZE]
        if self._block[:2] != (number, index):
            words = memoryview(content.blocks).cast("I")
            if self._starts[0] != number:
                sizes = accumulate(map(stored_size, words), initial=content.start)
                self._starts = (number, array("q", sizes))
                self.inflated += _WORD_BYTES * len(words)
            self._block = (number, index, self._full_block(self._starts[1][index], words[index]))
            self.inflated += BLOCK_SIZE
        return self._block[2]

    def _full_block(self, start: int, word: int) -> bytes:
        return self._inflated(start, word, BLOCK_SIZE) if stored_size(word) else bytes(BLOCK_SIZE)

    def _inflated(self, start: int, word: int, size: int) -> bytes:
        data = self._pack.read(start, stored_size(word))
        if not word >> 24:
            return self._inflate(data, size)
        if len(data) != size:
            raise PackDamagedError(f"a block of {len(data)} bytes, not {size}")
        return data


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces, because each costs as much as some KiB."""
    small: list[bytes] = []
    size = 0
    for piece in pieces:
        small.append(piece)
        size += len(piece)
        if size >= _ENOUGH:
            yield b"".join(small)
            small, size = [], 0
    yield b"".join(small)
