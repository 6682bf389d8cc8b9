"""Deciding which bytes of the packs go into an image, and where.

Only bytes of files that are in the final tree are taken, each content once. Full blocks and whole fragment blocks are
taken as they are; a fragment block with tails that no file needs any more is taken apart, and its live tails are
written anew together with the files that the image gets on top (the patch).
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.layers.codec import BLOCK_SIZE
from sifmake.layers.entry import FILE, Content, Inode
from sifmake.squashfs import Fragment, Placement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from sifmake.flatten.tree import Tree
    from sifmake.layers.blocks import BlockWriter, Workers
    from sifmake.layers.pack_reader import Pack

SUPERBLOCK_SIZE = 96
READ_AHEAD = 32
"""Fragment blocks that are inflated before their tails are wanted."""
PATCH = -1
"""Number of the patch among the sources of extents."""

NOWHERE = Placement(0, b"", -1, 0, 0)
"""Where the bytes of an empty file are."""


@dataclass(frozen=True)
class Extent:
    """Bytes of a data region that stand together in the image too.

    Attributes:
        source: Number of the pack, or PATCH.
        start: Offset in its data region.
        size: Bytes.
    """

    source: int
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

    def take(self, source: int, start: int, size: int) -> int:
        """Put bytes at the end of the region; return their offset in the image."""
        at = self.end
        self.end += size
        if size:
            last = self.extents[-1] if self.extents else None
            if last is not None and last.source == source and last.start + last.size == start:
                self.extents[-1] = Extent(source, last.start, last.size + size)
            else:
                self.extents.append(Extent(source, start, size))
        return at

    def place_blocks(self, source: int, content: Content) -> Placement:
        """Take the full blocks of a content; its fragment is left open."""
        start = self.take(source, content.start, content.stored) if content.stored else 0
        return Placement(start, content.blocks, -1, 0, content.sparse)

    def take_fragment(self, source: int, start: int, word: int) -> int:
        """Take a fragment block as it is; return its number in the image."""
        at = self.take(source, start, word & 0xFFFFFF)
        self.fragments.append(Fragment(at, word))
        return len(self.fragments) - 1


@dataclass(frozen=True)
class _Piece:
    """Full blocks of a content, or a fragment block with its live tails, at a place in a pack."""

    start: int
    contents: list[Content]
    fragment: int = -1


PartlyDead = tuple["Pack", _Piece]
"""A fragment block with its pack, and the contents whose tails are wanted."""


def plan_packs(tree: Tree, packs: Sequence[Pack]) -> tuple[DataPlan, list[PartlyDead]]:
    """Lay out what is taken from packs as it is.

    Args:
        tree: The finished tree; its files refer to packs, or to none.
        packs: One per layer.

    Returns:
        The plan, and the fragment blocks of which only some tails are wanted.
    """
    plan = DataPlan()
    partly_dead: list[PartlyDead] = []
    for number, used in enumerate(_used_contents(tree, packs)):
        pack = packs[number]
        fresh = [content for index, content in enumerate(pack.contents) if used[index] and _claim(plan, content)]
        for piece in _pieces(pack, fresh):
            if piece.fragment < 0:
                content = piece.contents[0]
                plan.places[content.sha256] = plan.place_blocks(number, content)
            elif not _place_fragment(plan, number, pack, piece):
                partly_dead.append((pack, piece))
    return plan, partly_dead


def plan_patch(
    plan: DataPlan,
    partly_dead: list[PartlyDead],
    files: Sequence[tuple[Inode, bytes]],
    layer: int,
    writer: BlockWriter,
    workers: Workers,
) -> None:
    """Write the patch and lay it out behind what comes from packs.

    Args:
        plan: Is completed.
        partly_dead: Fragment blocks to take the live tails of.
        files: Inodes that no pack has, with their contents; their ``layer`` and ``content`` are set.
        layer: The number that stands for the patch in inodes.
        writer: Writes the patch; its contents are finished afterwards.
        workers: Threads to inflate on.
    """
    open_tails = _copy_tails(partly_dead, writer, workers)
    _place_patch(plan, writer, open_tails, files, layer)


def _claim(plan: DataPlan, content: Content) -> bool:
    """Note that a content is taken from here; False when an earlier pack has it."""
    if content.sha256 in plan.places:
        return False
    plan.places[content.sha256] = NOWHERE
    return True


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


def _place_fragment(plan: DataPlan, number: int, pack: Pack, piece: _Piece) -> bool:
    """Take a fragment block as it is; return False when it has tails that are not wanted."""
    start, word, size = pack.fragments[piece.fragment]
    if sum(content.size % BLOCK_SIZE for content in piece.contents) != size:
        return False
    fragment = plan.take_fragment(number, start, word)
    for content in piece.contents:
        _set_fragment(plan, content, fragment, content.offset)
    return True


def _copy_tails(partly_dead: list[PartlyDead], writer: BlockWriter, workers: Workers) -> list[tuple[Content, int, int]]:
    """Write the live tails of fragment blocks anew; return fragment and offset in the patch of each."""
    places = []
    reading: deque[Future[bytes | bytearray]] = deque()
    for number, (_, piece) in enumerate(partly_dead):
        while len(reading) < READ_AHEAD and number + len(reading) < len(partly_dead):
            pack, ahead = partly_dead[number + len(reading)]
            reading.append(workers.submit(pack.read_fragment, ahead.fragment))
        block = memoryview(reading.popleft().result())
        for content in piece.contents:
            tail = block[content.offset : content.offset + content.size % BLOCK_SIZE]
            places.append((content, *writer.add_tail(tail)))
    return places


def _set_fragment(plan: DataPlan, content: Content, fragment: int, offset: int) -> None:
    placed = plan.places[content.sha256]
    plan.places[content.sha256] = Placement(placed.start, placed.blocks, fragment, offset, placed.sparse)


def _place_patch(
    plan: DataPlan,
    writer: BlockWriter,
    open_tails: list[tuple[Content, int, int]],
    files: Sequence[tuple[Inode, bytes]],
    layer: int,
) -> None:
    """Finish the patch and take everything that it holds."""
    for inode, data in files:
        inode.layer, inode.content = layer, writer.add(data) if data else -1
    writer.finish()
    first = len(plan.fragments)
    pieces = [_Piece(content.start, [content]) for content in writer.contents if content.blocks]
    pieces += [_Piece(start, [], number) for number, (start, _, _) in enumerate(writer.fragments)]
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if piece.fragment >= 0:
            start, word, _ = writer.fragments[piece.fragment]
            plan.take_fragment(PATCH, start, word)
        else:
            plan.places[piece.contents[0].sha256] = plan.place_blocks(PATCH, piece.contents[0])
    for content in writer.contents:
        plan.places.setdefault(content.sha256, NOWHERE)
        if content.fragment >= 0:
            _set_fragment(plan, content, first + content.fragment, content.offset)
    for content, fragment, offset in open_tails:
        _set_fragment(plan, content, first + fragment, offset)
