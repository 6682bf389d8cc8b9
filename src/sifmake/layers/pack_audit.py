"""Check everything that can be checked in a pack without its layer, for packs from outside or under suspicion.

Builds skip these checks: what a build relies on is checked while the index is decoded
(:mod:`~sifmake.layers.pack_checks`), and a wrong byte shows up in the checksum of the data.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sifmake.errors import PackDamagedError
from sifmake.layers.codec import BLOCK_SIZE
from sifmake.layers.entry import FILE, HARDLINK, LARGEST
from sifmake.layers.members import most_bytes
from sifmake.layers.pack_checks import is_block_word, stored_size
from sifmake.layers.tar_paths import normalise
from sifmake.limits import DEFAULT_LIMITS, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sifmake.layers.contents import Contents
    from sifmake.layers.entry import Content, Entry
    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits

STORED_LIMITS = DEFAULT_LIMITS._replace(
    layer_entries=5_000_000,
    layer_bytes=LARGEST,
    file_bytes=LARGEST,
    inflate_ratio=LARGEST,
    layer_listing_bytes=LARGEST,
    pax_bytes=64 * MIB,
    pax_records=50_000_000,
    sparse_regions=10_000_000,
    name_bytes=MIB,
    xattr_bytes=64 * MIB,
)
"""Limits for packs in a store: they are not damaged if a project with higher limits made them, or if their layer was
not compressed, so that holes and zeros did not count.
"""
_Range = tuple[int, int]


def check_pack(pack: Pack, limits: Limits) -> None:
    """Check all of a pack: checksums, index, and that every file inflates to its size and has its SHA-256.

    Memory is bounded by the index and one block, time by what a layer of the pack's size may inflate to.

    Args:
        pack: The pack.
        limits: ``layer_entries``, ``name_bytes``, ``layer_bytes``, ``inflate_ratio`` and ``inflate_ratio_from`` apply.

    Raises:
        PackDamagedError: Something is wrong, or beyond a limit.
    """
    pack.check_data()
    check_index(pack, limits)
    check_total(pack, limits)
    _check_files(pack)


def check_total(pack: Pack, limits: Limits) -> None:
    """Check that the files are not far larger than those that a pack of this size can hold.

    Raises:
        PackDamagedError: They are.
    """
    most = most_bytes(pack.footer.file_size, limits)
    if sum(pack.contents.sizes) > most:
        what = f"files of more than {most} bytes in all, far more than a layer pack of this size may hold"
        raise PackDamagedError(
            what, where=str(pack.path), hint="raise inflate-ratio or inflate-ratio-from (limits: in sifmake.yaml)"
        )


def check_index(pack: Pack, limits: Limits) -> None:
    """Check the index: its paths, and that no two blocks or tails share bytes.

    Raises:
        PackDamagedError: Something is wrong, or beyond a limit.
    """
    contents, fragments = pack.contents, pack.fragments
    try:
        _check_entries(pack.stored_entries(), limits)
        large = contents.large.values()
        for content in large:
            check_words(content)
        blocks = [(content.start, content.start + content.stored) for content in large if content.stored]
        blocks += [(start, start + stored_size(word)) for start, word, _ in fragments]
        _check_disjoint(sorted(blocks), "blocks")
        if not _are_disjoint(_tail_ranges(contents)):
            # Packs are written in this order; only ranges out of order have to be sorted, which takes much memory.
            _check_disjoint(sorted(_tail_ranges(contents)), "tails")
    except PackDamagedError as error:
        raise error.within(str(pack.path)) from None


def _check_entries(entries: Sequence[Entry], limits: Limits) -> None:
    if len(entries) > limits.layer_entries:
        raise PackDamagedError(f"more than {limits.layer_entries} entries in the layer pack")
    for entry in entries:
        if max(len(entry.path), len(entry.target)) > limits.name_bytes:
            raise PackDamagedError(f"a name or link target of more than {limits.name_bytes} bytes in the layer pack")
        if not _is_path(entry.path) or (entry.kind == HARDLINK and not _is_path(entry.target)):
            raise PackDamagedError("the layer pack has a path that no layer can have", where=_printable(entry))
        if b"\0" in entry.target or (entry.content >= 0 and entry.kind != FILE):
            raise PackDamagedError("the layer pack has an entry that no layer can have", where=_printable(entry))


def _printable(entry: Entry) -> str:
    return ascii(entry.path[:300])[2:-1]


def _is_path(path: bytes) -> bool:
    """Tell whether a path has the form that packing writes; see :attr:`~sifmake.layers.entry.Entry.path`."""
    return b"\0" not in path and normalise(path) == path


def check_words(content: Content) -> None:
    """Check the block words of a content against its size.

    Raises:
        PackDamagedError: They do not match it.
    """
    stored = zeros = 0
    for word in memoryview(content.blocks).cast("I"):
        if word and not is_block_word(word):
            raise PackDamagedError("a block of the layer pack is out of range")
        stored += stored_size(word)
        zeros += not word
    if stored != content.stored or zeros * BLOCK_SIZE != content.sparse:
        raise PackDamagedError("blocks of the layer pack do not match the size of their file")


def _tail_ranges(contents: Contents) -> Iterator[_Range]:
    """Yield the range of each tail, as if every fragment block were full."""
    for fragment, offset, size in zip(contents.fragments, contents.offsets, contents.sizes, strict=True):
        if fragment >= 0:
            start = fragment * BLOCK_SIZE + offset
            yield start, start + size % BLOCK_SIZE


def _check_disjoint(ranges: Iterable[_Range], what: str) -> None:
    if not _are_disjoint(ranges):
        raise PackDamagedError(f"{what} of the layer pack overlap")


def _are_disjoint(ranges: Iterable[_Range]) -> bool:
    """Tell whether ranges are in order and do not overlap."""
    before = 0
    for start, end in ranges:
        if start < before:
            return False
        before = end
    return True


def _check_files(pack: Pack) -> None:
    """Inflate every block once; files in the order of their tails, so that no fragment block is inflated twice."""
    number, fragment = -1, memoryview(b"")
    contents = pack.contents
    for index in sorted(range(len(contents)), key=contents.fragments.__getitem__):
        content = contents[index]
        digest = hashlib.sha256()
        for block in pack.blocks_of(content):
            digest.update(block)
        if content.fragment >= 0:
            if content.fragment != number:
                number, fragment = content.fragment, memoryview(pack.read_fragment(content.fragment))
            digest.update(fragment[content.offset : content.offset + content.size % BLOCK_SIZE])
        if digest.digest() != content.sha256:
            what = f"file with SHA-256 {content.sha256.hex()[:12]} is damaged"
            raise PackDamagedError(what, where=str(pack.path), hint="run the command again to rebuild it")
