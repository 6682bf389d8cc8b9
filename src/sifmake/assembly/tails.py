"""Live tails of half-dead fragment blocks, moved to new blocks in such a way that a change affects few of them.

The live tails of up to ``GROUP`` neighbouring fragment blocks of a pack share new blocks. The place of each tail
follows only from sizes, and the bytes of a group follow only from the pack and its live tails. So a change of another
layer, or elsewhere in the same layer, does not change them.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from sifmake.assembly.patch_file import PATCH_VERSION
from sifmake.layers.codec import BLOCK_SIZE, STORED_UNCOMPRESSED
from sifmake.layers.pack_format import pack_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Buffer

    from sifmake.layers.codec import Codec
    from sifmake.layers.contents import Contents
    from sifmake.layers.pack_reader import Pack

GROUP = 32
"""Fragment blocks that share new blocks. Each group costs one block that is not full; fewer make a change cheaper."""


class HalfDead(msgspec.Struct, frozen=True):
    """A fragment block with both live and dead tails.

    Attributes:
        number: Of the block in its pack.
        tails: Numbers of the contents whose tails are wanted, in the order in which they stand there.
    """

    number: int
    tails: array[int]


class TailGroup(msgspec.Struct, frozen=True):
    """Tails that start a new fragment block and fill as many as they need.

    Attributes:
        key: SHA-256 of which tails they are.
        sources: Where they come from.
        new_blocks: New block of each tail in order, counted from the group's first.
        offsets: Of each in it.
        blocks: New blocks.
    """

    key: bytes
    sources: list[HalfDead]
    new_blocks: array[int]
    offsets: array[int]
    blocks: int

    def placed(self) -> Iterator[tuple[int, int, int]]:
        """Yield each content's number with its new block and the offset in it."""
        numbers = (number for source in self.sources for number in source.tails)
        return zip(numbers, self.new_blocks, self.offsets, strict=True)


class LiveTails(msgspec.Struct, frozen=True):
    """All live tails of a pack's half-dead fragment blocks.

    Attributes:
        pack: Where they come from.
        layer: Its number.
        groups: In the pack's order.
    """

    pack: Pack
    layer: int
    groups: list[TailGroup]

    @property
    def size(self) -> int:
        """Approximate uncompressed bytes: those of all new blocks if they were full."""
        return sum(group.blocks for group in self.groups) * BLOCK_SIZE

    def key(self, codec: Codec) -> str:
        """Return the name of the compressed tails, which contains everything that decides their bytes."""
        wanted = hashlib.sha256(b"".join(group.key for group in self.groups)).hexdigest()
        return f"{self.key_prefix(codec)}{wanted[:32]}"

    def key_prefix(self, codec: Codec) -> str:
        """Return the common prefix of the names of all patches of this pack."""
        return f"{pack_key(self.pack.meta.diff_id, codec, self.pack.footer.version)}-{PATCH_VERSION}."


def group_tails(pack: Pack, layer: int, half_dead: Sequence[HalfDead]) -> LiveTails:
    """Group the live tails of a pack's half-dead fragment blocks, given in ascending order."""
    groups = groupby(half_dead, lambda item: item.number // GROUP)
    return LiveTails(pack, layer, [_group(list(some), pack.contents) for _, some in groups])


def _group(sources: list[HalfDead], contents: Contents) -> TailGroup:
    identity = hashlib.sha256()
    new_blocks, offsets = array("I"), array("I")
    block = used = 0
    sizes, old_offsets = contents.sizes, contents.offsets
    for source in sources:
        told = [source.number, len(source.tails)]
        for number in source.tails:
            size = sizes[number] % BLOCK_SIZE
            told += (old_offsets[number], size)
            if used + size > BLOCK_SIZE:
                block, used = block + 1, 0
            new_blocks.append(block)
            offsets.append(used)
            used += size
        identity.update(struct.pack(f"<{len(told)}Q", *told))
    return TailGroup(identity.digest(), sources, new_blocks, offsets, block + 1)


def compress_group(pack: Pack, group: TailGroup, codec: Codec) -> tuple[list[int], bytes]:
    """Return the squashfs words of a group's blocks and their stored bytes one after another.

    Raises:
        PackDamagedError: A fragment block cannot be read.
    """
    words: list[int] = []
    stored = bytearray()
    block = bytearray()
    done, new_blocks = 0, iter(group.new_blocks)
    sizes, offsets = pack.contents.sizes, pack.contents.offsets
    for source in group.sources:
        old = memoryview(pack.read_fragment(source.number))
        for number in source.tails:
            if next(new_blocks) != done:
                words.append(_store(block, stored, codec))
                block, done = bytearray(), done + 1
            offset = offsets[number]
            block += old[offset : offset + sizes[number] % BLOCK_SIZE]
    words.append(_store(block, stored, codec))
    return words, bytes(stored)


def _store(block: Buffer, stored: bytearray, codec: Codec) -> int:
    """Add a block to the stored bytes, compressed if that is smaller; return its squashfs word."""
    size = len(memoryview(block))
    packed = memoryview(codec.compress(block))
    if len(packed) < size:
        stored += packed
        return len(packed)
    stored += block
    return size | STORED_UNCOMPRESSED
