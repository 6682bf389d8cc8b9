"""Deciding which bytes of the packs go into an image, and where.

Only bytes of files that are in the final tree are taken, each content once. Full blocks and whole fragment blocks are
taken as they are; behind them stand the files that the image gets on top, and the live tails of fragment blocks that
hold tails which no file needs any more, compressed anew pack by pack.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sifmake.assembly.tails import HalfDead, LiveTails, group_tails
from sifmake.layers.codec import BLOCK_SIZE
from sifmake.layers.entry import FILE, Content, Inode
from sifmake.squashfs import Fragment, Placement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.assembly.patches import Patch
    from sifmake.flatten.tree import Tree
    from sifmake.layers.blocks import BlockWriter
    from sifmake.layers.pack_reader import Pack

SUPERBLOCK_SIZE = 96

NOWHERE = Placement(0, b"", -1, 0, 0)
"""Where the bytes of an empty file are."""


class Extent(NamedTuple):
    """Bytes of a file that stand together in the image too.

    Attributes:
        fd: The open file.
        start: Offset in it.
        size: Bytes.
    """

    fd: int
    start: int
    size: int


@dataclass
class DataPlan:
    """The data region of a squashfs image.

    Attributes:
        extents: What it is copied from, in order, from offset 96 on.
        fragments: All fragment blocks by their number in the image.
        end: Offset behind the last byte.
        places: Where the image has each content, by its SHA-256.
    """

    extents: list[Extent] = field(default_factory=list)
    fragments: list[Fragment] = field(default_factory=list)
    end: int = SUPERBLOCK_SIZE
    places: dict[bytes, Placement] = field(default_factory=dict)

    def take(self, fd: int, start: int, size: int) -> int:
        """Put bytes at the end of the region; return their offset in the image."""
        at = self.end
        self.end += size
        if size:
            last = self.extents[-1] if self.extents else None
            if last is not None and last.fd == fd and last.start + last.size == start:
                self.extents[-1] = Extent(fd, last.start, last.size + size)
            else:
                self.extents.append(Extent(fd, start, size))
        return at

    def place_blocks(self, fd: int, content: Content) -> None:
        """Take the full blocks of a content; its fragment is left open."""
        start = self.take(fd, content.start, content.stored) if content.stored else 0
        self.places[content.sha256] = Placement(start, content.blocks, -1, 0, content.sparse)

    def take_fragment(self, fd: int, start: int, word: int) -> int:
        """Take a fragment block as it is; return its number in the image."""
        at = self.take(fd, start, word & 0xFFFFFF)
        self.fragments.append(Fragment(at, word))
        return len(self.fragments) - 1

    def place_tail(self, content: Content, fragment: int, offset: int) -> None:
        """Say which fragment block holds a content's tail."""
        if not content.blocks:
            self.places[content.sha256] = Placement(0, b"", fragment, offset, 0)
            return
        placed = self.places.get(content.sha256, NOWHERE)
        self.places[content.sha256] = Placement(placed.start, placed.blocks, fragment, offset, placed.sparse)

    def take_patch(self, patch: Patch) -> None:
        """Take all blocks of a patch."""
        start = patch.start
        for word in patch.words:
            self.take_fragment(patch.fd, start, word)
            start += word & 0xFFFFFF


class _Piece(NamedTuple):
    """Full blocks of a content, or a fragment block with its live tails, at a place in a pack."""

    start: int
    contents: list[Content]
    fragment: int = -1


def plan_packs(tree: Tree, packs: Sequence[Pack]) -> tuple[DataPlan, list[LiveTails]]:
    """Lay out what is taken from packs as it is.

    Args:
        tree: The finished tree; its files refer to packs, or to none.
        packs: One per layer.

    Returns:
        The plan, and for each pack that has any the tails that are to be taken out of half-dead fragment blocks.
    """
    plan = DataPlan()
    tails: list[LiveTails] = []
    for pack, used in zip(packs, _used_contents(tree, packs), strict=True):
        fresh = _claim(plan, [content for content, is_used in zip(pack.contents, used, strict=True) if is_used])
        half_dead = [piece for piece in _pieces(pack, fresh) if not _place(plan, pack, piece)]
        if half_dead:
            tails.append(group_tails(pack, [HalfDead(piece.fragment, piece.contents) for piece in half_dead]))
    return plan, tails


def place_files(plan: DataPlan, files: Sequence[tuple[Inode, bytes]], layer: int, fd: int, writer: BlockWriter) -> None:
    """Write the files that no pack has and lay them out.

    Args:
        plan: Is added to.
        files: Inodes with their contents; their ``layer`` and ``content`` are set.
        layer: The number that stands for these files in inodes.
        fd: The file that the writer writes, from its beginning on.
        writer: Its contents are finished afterwards.
    """
    for inode, data in files:
        inode.layer, inode.content = layer, writer.add(data) if data else -1
    writer.finish()
    pieces = [_Piece(content.start, [content]) for content in writer.contents if content.blocks]
    pieces += [_Piece(start, [], number) for number, (start, _, _) in enumerate(writer.fragments)]
    first = len(plan.fragments)
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if piece.fragment >= 0:
            plan.take_fragment(fd, piece.start, writer.fragments[piece.fragment][1])
        else:
            plan.place_blocks(fd, piece.contents[0])
    for content in writer.contents:
        if content.fragment >= 0:
            plan.place_tail(content, first + content.fragment, content.offset)


def place_tails(plan: DataPlan, tails: Sequence[LiveTails]) -> int:
    """Say where the tails will be once the patches are taken in this order; return the count of all fragment blocks."""
    first = len(plan.fragments)
    for some in tails:
        for group in some.groups:
            for content, block, offset in group.placed():
                plan.place_tail(content, first + block, offset)
            first += group.blocks
    return first


def _claim(plan: DataPlan, contents: list[Content]) -> list[Content]:
    """Return the contents that no earlier pack has, and note that they are taken from here."""
    places = plan.places
    fresh = [content for content in contents if content.sha256 not in places]
    places.update(dict.fromkeys([content.sha256 for content in fresh], NOWHERE))
    return fresh


def _used_contents(tree: Tree, packs: Sequence[Pack]) -> list[bytearray]:
    """Return for each pack which of its contents some file of the tree has."""
    used = [bytearray(len(pack.contents)) for pack in packs]
    folders = [tree.root]
    while folders:
        for inode in (folders.pop().children or {}).values():
            if inode.children is not None:
                folders.append(inode)
            elif inode.content >= 0 and inode.kind == FILE:
                used[inode.layer][inode.content] = 1
    return used


def _pieces(pack: Pack, contents: list[Content]) -> list[_Piece]:
    """Return what is taken from a pack, in the order in which it stands there."""
    tails: dict[int, list[Content]] = defaultdict(list)
    pieces = []
    for content in contents:
        if content.blocks:
            pieces.append(_Piece(content.start, [content]))
        if content.fragment >= 0:
            tails[content.fragment].append(content)
    pieces += [_Piece(pack.fragments[number][0], live, number) for number, live in tails.items()]
    pieces.sort(key=lambda piece: piece.start)
    return pieces


def _place(plan: DataPlan, pack: Pack, piece: _Piece) -> bool:
    """Take a piece as it is; return False when it is a fragment block with tails that are not wanted."""
    if piece.fragment < 0:
        plan.place_blocks(pack.fd, piece.contents[0])
        return True
    start, word, size = pack.fragments[piece.fragment]
    if sum(content.size % BLOCK_SIZE for content in piece.contents) != size:
        return False
    fragment = plan.take_fragment(pack.fd, start, word)
    for content in piece.contents:
        plan.place_tail(content, fragment, content.offset)
    return True
