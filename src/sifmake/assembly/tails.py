"""Live tails of half-dead fragment blocks: cut into new blocks so that a change moves few of them.

The tails of up to ``GROUP`` neighbouring fragment blocks of one pack begin new blocks of their own. Where each tail
goes follows from sizes alone, and the bytes of a group follow from the pack and the tails that are wanted of it: a
change of another layer, or elsewhere in the same one, leaves them as they are.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from sifmake.assembly.patch_file import PATCH_VERSION
from sifmake.layers.codec import BLOCK_SIZE, STORED_UNCOMPRESSED
from sifmake.layers.pack_format import pack_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Buffer

    from sifmake.layers.codec import Codec
    from sifmake.layers.entry import Content
    from sifmake.layers.pack_reader import Pack

GROUP = 32
"""Fragment blocks that share new blocks. Each group costs one block that is not full; fewer make a change cheaper."""


@dataclass(frozen=True)
class HalfDead:
    """A fragment block of which only some tails are wanted.

    Attributes:
        number: Of the block in its pack.
        contents: Those whose tails are wanted, in the order in which they stand there.
    """

    number: int
    contents: list[Content]


@dataclass(frozen=True)
class TailGroup:
    """Tails that begin a new fragment block, and fill as many as they need.

    Attributes:
        key: SHA-256 of which tails they are.
        sources: Where they come from.
        places: New block, counted from the group's first, and offset in it of each tail in order.
        blocks: New blocks.
    """

    key: bytes
    sources: list[HalfDead]
    places: list[tuple[int, int]]
    blocks: int

    def placed(self) -> Iterator[tuple[Content, int, int]]:
        """Yield each content with its new block and the offset in it."""
        contents = (content for source in self.sources for content in source.contents)
        for content, (block, offset) in zip(contents, self.places, strict=True):
            yield content, block, offset


@dataclass(frozen=True)
class LiveTails:
    """All tails that an image wants of a pack's half-dead fragment blocks.

    Attributes:
        pack: Where they come from.
        groups: In the pack's order.
    """

    pack: Pack
    groups: list[TailGroup]

    @property
    def size(self) -> int:
        """Uncompressed bytes, roughly: those of all new blocks if they were full."""
        return sum(group.blocks for group in self.groups) * BLOCK_SIZE

    def key(self, codec: Codec) -> str:
        """Return the name of the compressed tails: everything that decides their bytes."""
        wanted = hashlib.sha256(b"".join(group.key for group in self.groups)).hexdigest()
        return f"{self.key_prefix(codec)}{wanted[:32]}"

    def key_prefix(self, codec: Codec) -> str:
        """Return what the names of all patches of this pack begin with."""
        return f"{pack_key(self.pack.meta.diff_id, codec)}-{PATCH_VERSION}."


def group_tails(pack: Pack, half_dead: Sequence[HalfDead]) -> LiveTails:
    """Group what is wanted of a pack's half-dead fragment blocks, given in ascending order."""
    return LiveTails(pack, [_group(list(some)) for _, some in groupby(half_dead, lambda item: item.number // GROUP)])


def _group(sources: list[HalfDead]) -> TailGroup:
    identity: list[int] = []
    places = []
    block = used = 0
    for source in sources:
        identity += (source.number, len(source.contents))
        for content in source.contents:
            size = content.size % BLOCK_SIZE
            identity += (content.offset, size)
            if used + size > BLOCK_SIZE:
                block, used = block + 1, 0
            places.append((block, used))
            used += size
    key = hashlib.sha256(struct.pack(f"<{len(identity)}Q", *identity)).digest()
    return TailGroup(key, sources, places, block + 1)


def compress_group(pack: Pack, group: TailGroup, codec: Codec) -> tuple[list[int], bytes]:
    """Return the squashfs words of a group's blocks and their stored bytes one after another.

    Raises:
        PackDamagedError: A fragment block cannot be read.
    """
    words: list[int] = []
    stored = bytearray()
    block = bytearray()
    number, places = 0, iter(group.places)
    for source in group.sources:
        old = memoryview(pack.read_fragment(source.number))
        for content in source.contents:
            if next(places)[0] != number:
                words.append(_store(block, stored, codec))
                block, number = bytearray(), number + 1
            block += old[content.offset : content.offset + content.size % BLOCK_SIZE]
    words.append(_store(block, stored, codec))
    return words, bytes(stored)


def _store(block: Buffer, stored: bytearray, codec: Codec) -> int:
    """Add a block to the stored bytes, compressed where that is smaller; return its squashfs word."""
    size = len(memoryview(block))
    packed = memoryview(codec.compress(block))
    if len(packed) < size:
        stored += packed
        return len(packed)
    stored += block
    return size | STORED_UNCOMPRESSED
