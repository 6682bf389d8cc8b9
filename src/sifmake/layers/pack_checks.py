"""Check that the parts of a pack's index agree with each other, whenever they are decoded.

The checksums in a pack have no key: anyone with write access to a store can make them match. Decoding bounds each
number by itself (:mod:`~sifmake.layers.entry`); this module checks the relations between the parts on which later code
relies. That takes a tenth of the time of decoding; more expensive checks are in :mod:`~sifmake.layers.pack_audit`.
"""

from __future__ import annotations

from array import array
from operator import attrgetter, ne
from typing import TYPE_CHECKING

from sifmake.errors import PackDamagedError
from sifmake.layers.codec import BLOCK_SIZE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.layers.contents import Contents
    from sifmake.layers.entry import Content, Entry

_WORD_BITS = 25
"""A squashfs block word: 24 bits of size, one that says "not compressed"."""
_CONTENT_OF, _SIZE_OF = attrgetter("content"), attrgetter("size")


def stored_size(word: int) -> int:
    """Return the stored size of a block in bytes; 0 for a block of zeros."""
    return word & 0xFFFFFF


def is_block_word(word: int) -> bool:
    """Tell whether a word describes a stored block: not empty, and not larger than a full block."""
    return 0 < stored_size(word) <= BLOCK_SIZE and not word >> _WORD_BITS


def check_fragments(fragments: Sequence[tuple[int, int, int]], data_size: int) -> None:
    """Check that fragment blocks are inside the data region and no larger than a block.

    Raises:
        PackDamagedError: One is not.
    """
    for start, word, size in fragments:
        if not is_block_word(word) or not 0 < size <= BLOCK_SIZE or start + stored_size(word) > data_size:
            raise PackDamagedError("a fragment block of the layer pack is out of range")


def check_contents(contents: Sequence[Content], fragments: Sequence[tuple[int, int, int]], data_size: int) -> None:
    """Check that full blocks are inside the data region and match the size, and that tails are inside their fragment.

    Raises:
        PackDamagedError: Something does not fit.
    """
    sizes = [fragment[2] for fragment in fragments]
    last = len(sizes) - 1
    for content in contents:
        fragment = content.fragment
        if content.size >= BLOCK_SIZE:
            if not _large_fits(content, data_size, sizes):
                raise _misfit()
        elif (
            not 0 <= fragment <= last
            or content.offset + content.size > sizes[fragment]
            or content.blocks
            or content.stored
            or content.sparse
        ):
            raise _misfit()


def _large_fits(content: Content, data_size: int, sizes: Sequence[int]) -> bool:
    """Tell whether a content of at least one block has its blocks in the data region, and a tail if it needs one."""
    tail = content.size % BLOCK_SIZE
    return (
        len(content.blocks) == content.size // BLOCK_SIZE * 4
        and content.start + content.stored <= data_size
        and content.sparse <= content.size
        and content.fragment < len(sizes)
        and (content.fragment >= 0) == (tail > 0)
        and (content.offset + tail <= sizes[content.fragment] if tail else not content.offset)
    )


def _misfit() -> PackDamagedError:
    return PackDamagedError("a file of the layer pack is out of range")


def check_entries(entries: Sequence[Entry], contents: Contents) -> None:
    """Check that each entry with a content has the content's size, and that others have size 0.

    Raises:
        PackDamagedError: An entry refers to a content that does not exist or has another size.
    """
    # The last item is for entries without a content, whose number is -1.
    sizes = contents.sizes + array("Q", [0])
    wanted = map(sizes.__getitem__, map(_CONTENT_OF, entries))
    # Loops in C take half of the time.
    if max(map(_CONTENT_OF, entries), default=-1) >= len(contents) or any(map(ne, map(_SIZE_OF, entries), wanted)):
        raise PackDamagedError("an entry of the layer pack does not match its content")
