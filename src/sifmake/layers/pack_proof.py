"""Prove that a pack is what packing its layer gives: by the pack alone, whoever made it and wherever it comes from.

An equal DiffID proves the bytes of the tar stream, not what images are built from. So the rebuilt stream passes through
the code that packs layers, and everything this gives is compared with the pack: entries, warnings, contents, and the
places of all blocks and tails. Each block is inflated once on the way. What is not proven: which of several valid
encodings of a block the pack has.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from sifmake.errors import IntegrityError, PackDamagedError
from sifmake.layers.array_part import encoded_array
from sifmake.layers.checked_blob import Tally
from sifmake.layers.codec import BLOCK_SIZE
from sifmake.layers.image_budget import ImageBudget
from sifmake.layers.members import most_bytes, store_members
from sifmake.layers.pack_audit import check_index, check_pack, check_total, check_words
from sifmake.layers.pack_checks import stored_size
from sifmake.layers.rebuild import ExactContents, RebuiltTar
from sifmake.layers.tar import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.layers.entry import Content
    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits
    from sifmake.progress import Task

_WRONG_CONTENT = "a file of the layer pack is not that of its layer"
_WRONG_PLACE = "a file of the layer pack is not in its place"
_WRONG_FRAGMENT = "a fragment block of the layer pack is not in its place"
_MORE = "beyond what its layer gives, the layer pack has"


def prove_pack(pack: Pack, limits: Limits, task: Task | None = None) -> None:
    """Check that a pack has the tar stream of its DiffID, and that everything else in it follows from that stream.

    Memory is bounded as for packing, time by what a layer of the pack's size may inflate to. Nobody else may be able
    to write to the file, during the check and later.

    Args:
        pack: The pack.
        limits: Bounds on a layer; its size is the pack's.
        task: Advances by nothing all the time, so that it can stop the proof.

    Raises:
        PackDamagedError: Something is wrong or beyond a limit, or the pack has no residue.
    """
    try:
        _prove(pack, limits, task)
    except PackDamagedError as error:
        raise error if error.where else error.within(str(pack.path)) from None
    except IntegrityError as error:
        what = f"the layer pack does not hold a layer ({error})"
        raise PackDamagedError(what, where=str(pack.path)) from None


def verify_pack(pack: Pack, limits: Limits) -> bool:
    """Prove a pack if it has a residue, else check what can be checked without its layer; return whether it is proven.

    Raises:
        PackDamagedError: Something is wrong or beyond a limit.
    """
    if not pack.has_residue:
        check_pack(pack, limits)
        return False
    check_index(pack, limits)  # the proof finds all of this too, but cannot say so clearly what is wrong
    prove_pack(pack, limits)
    return True


def _stoppable(pieces: Iterable[bytes], task: Task) -> Iterator[bytes]:
    for piece in pieces:
        task.advance(0)
        yield piece


def _prove(pack: Pack, limits: Limits, task: Task | None) -> None:
    pack.check_data()
    check_total(pack, limits)
    size = pack.footer.file_size
    budget = ImageBudget(limits, size)
    rebuilt, tally = RebuiltTar(pack, limits), Tally(pack.meta.diff_id.partition(":")[0])
    stream = budget.inflating(map(tally.add, rebuilt))
    tar = TarReader(_stoppable(stream, task) if task else stream, limits)
    places = _ProvenPlaces(pack, tar, rebuilt)
    entries, warnings = store_members(tar, places, most_bytes(size, limits), budget)
    if tally.digest != pack.meta.diff_id:
        raise PackDamagedError(f"the layer pack holds another layer than {pack.meta.diff_id}: {tally.digest}")
    _demand_bytes(pack, "entries", entries.pieces(), "entries of the layer pack are not those of its layer")
    _demand_equal(pack.meta.warnings, warnings, "warnings of the layer pack are not those of its layer")
    places.finish()
    for part, pieces in (("contents", encoded_array(pack.contents)), ("meta", [msgspec.msgpack.encode(pack.meta)])):
        _demand_bytes(pack, part, pieces, "the index of the layer pack holds bytes that mean nothing")


def _demand_bytes(pack: Pack, part: str, expected: Iterable[bytes | bytearray], what: str) -> None:
    """Refuse a pack whose part does not consist of the expected pieces."""
    rest, at = pack.raw_part(part), 0
    for piece in expected:
        _demand_equal(rest[at : at + len(piece)], piece, what)
        at += len(piece)
    _demand_equal(at, len(rest), what)


def _demand_equal(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise PackDamagedError(what)


class _ProvenPlaces:
    """Takes contents as a :class:`~sifmake.layers.blocks.BlockWriter` does, and compares where it would put them."""

    def __init__(self, pack: Pack, tar: TarReader, rebuilt: RebuiltTar) -> None:
        self._pack = pack
        self._tar = tar
        self._rebuilt = rebuilt
        self._contents = pack.contents
        self._seen: dict[bytes, int] = {}
        self._unread: list[int] = []
        self._position = 0
        self._fragment = 0
        self._tails = 0

    def add_small(self, data: bytes | memoryview) -> int:
        """Take the whole content of a file of less than a block; return its number."""
        digest = sha256(data).digest()
        known = self._seen.get(digest)
        if known is not None:
            return known
        number = self._register(digest, len(data))
        self._place_tail(number, len(data))
        return number

    def add_large(self, size: int, pieces: Iterable[bytes | bytearray | memoryview]) -> int:
        """Take a file of at least one block; return its content's number."""
        whole = sha256()
        for piece in pieces:
            whole.update(piece)
        digest = whole.digest()
        known = self._seen.get(digest)
        if known is not None:
            return known
        number = self._register(digest, size)
        self._place_blocks(self._contents.large[number])
        self._place_tail(number, size % BLOCK_SIZE)
        return number

    def finish(self) -> None:
        """Check that nothing else is in the data, and the contents that the stream does not have in one piece.

        Raises:
            PackDamagedError: Something else is there, or a content is wrong.
        """
        if self._tails:
            self._end_fragment()
        _demand_equal(len(self._contents), len(self._seen), f"{_MORE} a file's content")
        _demand_equal(len(self._pack.fragments), self._fragment, f"{_MORE} a fragment block")
        _demand_equal(self._pack.footer.data_size, self._position, f"{_MORE} data")
        exact = ExactContents(self._pack)
        for number in self._unread:
            whole = sha256()
            for piece in exact.part(number, 0, self._contents.sizes[number]):
                whole.update(piece)
            _demand_equal(self._contents.digest(number), whole.digest(), _WRONG_CONTENT)

    def _register(self, digest: bytes, size: int) -> int:
        number, contents = len(self._seen), self._contents
        if number >= len(contents) or contents.sizes[number] != size or contents.digest(number) != digest:
            raise PackDamagedError(_WRONG_CONTENT)
        self._seen[digest] = number
        if not self._rebuilt.begins_at(number, self._tar.data_offset):
            self._unread.append(number)  # the stream has it in pieces, or elsewhere: it has to be read by itself
        return number

    def _place_blocks(self, content: Content) -> None:
        check_words(content)
        _demand_equal(content.start, self._position, _WRONG_PLACE)
        self._position += content.stored

    def _place_tail(self, number: int, size: int) -> None:
        if size and self._tails + size > BLOCK_SIZE:
            self._end_fragment()
        found = self._contents.fragments[number], self._contents.offsets[number]
        _demand_equal(found, (self._fragment, self._tails) if size else (-1, 0), _WRONG_PLACE)
        self._tails += size

    def _end_fragment(self) -> None:
        fragments = self._pack.fragments
        start, word, size = fragments[self._fragment] if self._fragment < len(fragments) else (-1, 0, 0)
        _demand_equal((start, size), (self._position, self._tails), _WRONG_FRAGMENT)
        self._position += stored_size(word)
        self._fragment += 1
        self._tails = 0
