"""Decide which bytes of the packs go into an image, and where.

Only bytes of files in the final tree are copied, each content once. Full blocks and complete fragment blocks are copied
unchanged. After them come the files that sifmake adds to the image. Last come the live tails of fragment blocks that
also contain dead tails; these live tails are compressed again, pack by pack. Before a long run of a pack's blocks, and
before a long patch, there may be a gap: see :mod:`~sifmake.assembly.extents`.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from sifmake.assembly.extents import Extent, gap_before
from sifmake.assembly.places import LayerPlaces, find_wanted, share
from sifmake.assembly.runs import PackPiece, find_runs
from sifmake.assembly.tails import HalfDead, LiveTails, group_tails
from sifmake.errors import SifmakeError
from sifmake.layers.codec import BLOCK_SIZE
from sifmake.layers.contents import Contents
from sifmake.layers.entry import FILE, Inode
from sifmake.squashfs import Fragment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sifmake.assembly.patches import Patch
    from sifmake.flatten.tree import Tree
    from sifmake.layers.blocks import BlockWriter
    from sifmake.layers.pack_reader import Pack
    from sifmake.squashfs.inodes import PlacementFields

SUPERBLOCK_SIZE = 96


class DataPlan(msgspec.Struct):
    """The data region of a squashfs image.

    Attributes:
        extents: The sources of its bytes, in order, from offset 96 on.
        fragments: All fragment blocks by their number in the image.
        end: Offset after the last byte.
        layers: Where the image has the contents of each layer; those that it gets on top are the last one.
    """

    layers: list[LayerPlaces]
    extents: list[Extent] = msgspec.field(default_factory=list)
    fragments: list[Fragment] = msgspec.field(default_factory=list)
    end: int = SUPERBLOCK_SIZE
    _gap: int = 0

    def begin(self, start: int, size: int) -> None:
        """Leave the gap that a range needs; its parts are taken next.

        Args:
            start: Offset of the range in its source.
            size: Bytes.
        """
        self._gap = gap_before(self.end, start, size)
        self.end += self._gap

    def take(self, fd: int, start: int, size: int) -> int:
        """Append bytes to the region; return their offset in the image."""
        at = self.end
        self.end += size
        if size:
            last = self.extents[-1] if self.extents else None
            if last is not None and last.fd == fd and last.start + last.size == start and not self._gap:
                self.extents[-1] = last._replace(size=last.size + size)
            else:
                self.extents.append(Extent(fd, start, size, self._gap))
                self._gap = 0
        return at

    def place_blocks(self, fd: int, layer: int, number: int) -> None:
        """Take the full blocks of a content; its tail is left open."""
        places = self.layers[layer]
        content = places.large[number]
        places.starts[number] = self.take(fd, content.start, content.stored) if content.stored else 0

    def placement(self, inode: Inode) -> PlacementFields:
        """Return where the bytes of a file are that has any.

        Raises:
            SifmakeError: They are not in the image.
        """
        places, number = self.layers[inode.layer], inode.content
        if number in places.elsewhere:
            owner = places.elsewhere[number]
            places, number = self.layers[owner >> 32], owner & 0xFFFFFFFF
        fragment = places.fragments[number]
        if fragment >= 0 and number not in places.large:  # by far the most frequent, so it costs no further call
            return 0, b"", fragment, places.offsets[number], 0
        found = places.placement(number)
        if found is None:
            raise SifmakeError("a file of the tree has no place in the image", where=ascii(inode.path)[2:-1])
        return found

    def take_fragment(self, fd: int, start: int, word: int) -> int:
        """Append an unchanged fragment block; return its number in the image."""
        at = self.take(fd, start, word & 0xFFFFFF)
        self.fragments.append(Fragment(at, word))
        return len(self.fragments) - 1

    def take_patch(self, patch: Patch) -> None:
        """Append all blocks of a patch, placed as in a file of its own, because a small one is not kept as such."""
        start = patch.start
        self.begin(0, sum(word & 0xFFFFFF for word in patch.words))
        for word in patch.words:
            self.take_fragment(patch.fd, start, word)
            start += word & 0xFFFFFF


def plan_packs(tree: Tree, packs: Sequence[Pack]) -> tuple[DataPlan, list[LiveTails]]:
    """Lay out the bytes that are copied from packs unchanged.

    Args:
        tree: The finished tree; its files refer to packs, or to none.
        packs: One per layer.

    Returns:
        The plan, and for each pack that has any, the live tails to extract from half-dead fragment blocks.
    """
    used = _used_contents(tree, packs)
    plan = DataPlan([LayerPlaces(pack.contents, wanted) for pack, wanted in zip(packs, used, strict=True)])
    share(plan.layers)
    tails: list[LiveTails] = []
    for layer, pack in enumerate(packs):
        pieces = _pieces(pack, plan.layers[layer])
        half_dead = [HalfDead(number, some) for number, some in _place_pieces(plan, pack, layer, pieces)]
        if half_dead:
            tails.append(group_tails(pack, layer, half_dead))
    return plan, tails


def place_files(plan: DataPlan, files: Sequence[tuple[Inode, bytes]], layer: int, fd: int, writer: BlockWriter) -> None:
    """Write the files that are in no pack and lay them out.

    Args:
        plan: The plan, which is extended.
        files: Inodes with their contents; their ``layer`` and ``content`` are set.
        layer: The number that stands for these files in inodes.
        fd: The file to which the writer writes, from its start.
        writer: The writer; its contents are finished afterwards.
    """
    for inode, data in files:
        inode.layer, inode.content = layer, writer.add(data) if data else -1
    writer.finish()
    contents = Contents(writer.contents)
    places = LayerPlaces(contents, bytearray(b"\1" * len(contents)))
    below = plan.layers[:]
    plan.layers.append(places)
    first = len(plan.fragments)
    pieces = [PackPiece(content.start, content.stored, number) for number, content in contents.large.items()]
    fragments = enumerate(writer.fragments)
    pieces += [PackPiece(start, word & 0xFFFFFF, number, array("I")) for number, (start, word, _) in fragments]
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if piece.tails is not None:
            plan.take_fragment(fd, piece.start, writer.fragments[piece.number][1])
        else:
            plan.place_blocks(fd, layer, piece.number)
    for number, content in enumerate(writer.contents):
        if content.fragment >= 0:
            places.place_tail(number, first + content.fragment, content.offset)
        _replace_same(below, places, number)


def _replace_same(below: Sequence[LayerPlaces], places: LayerPlaces, number: int) -> None:
    """Have both taken from one place where a pack has a content, too; a tail that is placed later decides for both."""
    same = find_wanted(below, places.contents.digest(number))
    if same is not None:
        below[same >> 32].copy_place(same & 0xFFFFFFFF, places, number)
        places.elsewhere[number] = same


def place_tails(plan: DataPlan, tails: Sequence[LiveTails]) -> int:
    """Place the tails as they will be after the patches in this order; return the number of all fragment blocks."""
    first = len(plan.fragments)
    for some in tails:
        fragments, offsets = plan.layers[some.layer].fragments, plan.layers[some.layer].offsets
        for group in some.groups:
            for number, block, offset in group.placed():
                fragments[number], offsets[number] = first + block, offset
            first += group.blocks
    return first


def _used_contents(tree: Tree, packs: Sequence[Pack]) -> list[bytearray]:
    """Return for each pack which of its contents are used by files of the tree."""
    used = [bytearray(len(pack.contents)) for pack in packs]
    folders = [tree.root]
    while folders:
        for inode in (folders.pop().children or {}).values():
            if inode.children is not None:
                folders.append(inode)
            elif inode.content >= 0 and inode.kind == FILE:
                used[inode.layer][inode.content] = 1
    return used


def _pieces(pack: Pack, places: LayerPlaces) -> list[PackPiece]:
    """Return the pieces to copy from a pack, in the pack's order."""
    tails: dict[int, array[int]] = defaultdict(lambda: array("I"))
    pieces = []
    large, fragments = places.large, places.contents.fragments
    for number in places.numbers:
        if number in large:
            pieces.append(PackPiece(large[number].start, large[number].stored, number))
        fragment = fragments[number]
        if fragment >= 0:
            tails[fragment].append(number)
    for number, some in tails.items():
        start, word, _ = pack.fragments[number]
        pieces.append(PackPiece(start, word & 0xFFFFFF, number, some))
    pieces.sort(key=lambda piece: piece.start)
    return pieces


def _place_pieces(
    plan: DataPlan, pack: Pack, layer: int, pieces: Sequence[PackPiece]
) -> Iterator[tuple[int, array[int]]]:
    """Take pieces as they are; yield the fragment blocks with tails that are not wanted, and those that are."""
    places = plan.layers[layer]
    sizes, fragments = places.contents.sizes, places.fragments
    whole: list[PackPiece] = []
    for piece in pieces:
        tails = piece.tails
        if tails is None or sum([sizes[tail] % BLOCK_SIZE for tail in tails]) == pack.fragments[piece.number][2]:
            whole.append(piece)
        else:
            yield piece.number, tails
    for start, size, run in find_runs(whole):
        plan.begin(start, size)
        for piece in run:
            if piece.tails is None:
                plan.place_blocks(pack.fd, layer, piece.number)
                continue
            fragment = plan.take_fragment(pack.fd, piece.start, pack.fragments[piece.number][1])
            for tail in piece.tails:
                fragments[tail] = fragment
