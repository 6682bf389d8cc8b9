"""Inflate independent members of gzip, or frames of zstd, on several threads.

Where a member ends is known only when it has been inflated. So the bytes ahead are cut where a member seems to begin,
and each part is inflated by itself. A part counts only if it begins where the one before it ended and is some whole
members to its last byte. Everything else, and all that is damaged, is inflated again in turn by the code that inflates
one member after the other, which raises the errors.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from sifmake.errors import LayerError
from sifmake.layers.decoders import LONGEST_START, START, inflate_member
from sifmake.limits import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from sifmake.layers.blocks import Workers
    from sifmake.layers.compressed_input import CompressedInput
    from sifmake.layers.decoders import Codec

_PART: Final = 512 * KIB
"""Compressed bytes of a part, up to the next member."""
_LARGEST_PART: Final = 4 * MIB
"""Longer members are inflated in turn, because parts are held in memory."""
_MOST_PLAIN: Final = 8 * MIB
"""Most bytes that a part may hold; pzstd makes frames of so many."""
_MOST_WASTED: Final = 4 * MIB
_WASTED_SHARE: Final = 32
"""Compressed bytes of parts that were inflated in vain, and their share of the stream: beyond both together, the rest
is inflated in turn.
"""


class MembersAhead:
    """The members of a stream, in order, of which some are inflated ahead.

    Args:
        source: The stream, at its first member.
        codec: Of its members.
        chunk: Most bytes in one piece.
        workers: Threads to inflate on.
        is_bounded: Tells whether some uncompressed bytes in all, after some compressed ones, are within all limits.
    """

    def __init__(
        self,
        source: CompressedInput,
        codec: Codec,
        chunk: int,
        workers: Workers,
        is_bounded: Callable[[int, int], bool],
    ) -> None:
        self._source = source
        self._codec = codec
        self._chunk = chunk
        self._workers = workers
        self._is_bounded = is_bounded
        self._parts: deque[tuple[int, Future[deque[bytes] | None]]] = deque()
        self._behind = bytearray()
        self._reads: deque[int] = deque()
        self._searched = _PART
        self._wasted = 0
        self._is_worth_it = True
        self._total = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield all bytes.

        Raises:
            LayerError: As :func:`~sifmake.layers.decoders.inflate_member` raises it for the first bad member.
        """
        try:
            for piece in self._pieces():
                self._total += len(piece)
                yield piece
        finally:
            self._forget()

    def _pieces(self) -> Iterator[bytes]:
        yield from inflate_member(self._source, self._codec, self._chunk)
        while self._source.head(START):
            if not self._parts:
                self._look_behind()
                self._fill()
            if self._parts:
                yield from self._next_part()
            else:
                yield from inflate_member(self._source, self._codec, self._chunk)

    def _next_part(self) -> Iterator[bytes]:
        size, future = self._parts[0]
        pieces = future.result()
        if pieces is not None and self._is_bounded(self._total + sum(map(len, pieces)), self._source.count):
            self._source.skip(size)
            while pieces:
                yield pieces.popleft()
            self._drop()
            self._fill()
            return
        # If it is good, a limit may be met inside: where exactly is found in turn, and nothing is gained from then on.
        self._is_worth_it = self._is_worth_it and pieces is None
        self._drop()
        self._wasted += size
        end = self._source.count + size
        while self._source.count < end and self._source.head(START):
            yield from inflate_member(self._source, self._codec, self._chunk)
        if self._source.count > end:  # the parts behind begin inside a member
            self._wasted += sum(size for size, _ in self._parts)
            self._forget()
        if self._wasted > _MOST_WASTED + self._source.count // _WASTED_SHARE:
            self._is_worth_it = False

    def _look_behind(self) -> None:
        """Begin to look for parts behind what was handed out."""
        unread = self._source.unread()
        self._behind = bytearray().join(unread)
        self._reads = deque(map(len, unread))
        self._searched = _PART

    def _fill(self) -> None:
        """Begin with as many parts as there is room for."""
        parts = self._workers.parts
        while self._is_worth_it and parts.acquire(blocking=False):
            size = self._find_end()
            if not size:
                parts.release()
                return
            future = self._workers.submit(_inflate_part, self._codec, *self._cut(size), self._chunk)
            self._parts.append((size, future))

    def _find_end(self) -> int:
        """Return how many bytes behind the last part a member seems to begin; 0 if it would be too many."""
        behind = self._behind
        while (end := self._codec.likely_start(behind, self._searched)) < 0:
            self._searched = max(_PART, len(behind) - LONGEST_START)
            if len(behind) > _LARGEST_PART:
                return 0
            if not (more := self._source.read_ahead()):
                return len(behind)
            behind += more
            self._reads.append(len(more))
        return end

    def _cut(self, size: int) -> tuple[bytearray, list[int]]:
        """Take a part from the bytes behind the last one; return it, and the sizes of the reads in it."""
        part = self._behind[:size]
        del self._behind[:size]
        self._searched = _PART
        reads = []
        while size:
            read = self._reads.popleft()
            if read > size:
                self._reads.appendleft(read - size)
            reads.append(min(read, size))
            size -= reads[-1]
        return part, reads

    def _forget(self) -> None:
        """Drop all parts."""
        while self._parts:
            self._drop()

    def _drop(self) -> None:
        self._parts.popleft()[1].cancel()
        self._workers.parts.release()


class _NotWholeError(Exception):
    """A part is not whole members, or holds too much."""


def _inflate_part(codec: Codec, part: bytearray, reads: list[int], chunk: int) -> deque[bytes] | None:
    """Return what a part holds, in the same pieces as if it were inflated in turn; None if it is not whole members."""
    try:
        return deque(_members_of(codec, memoryview(part), reads, chunk))
    except (codec.error, LayerError, _NotWholeError):
        return None


def _members_of(codec: Codec, part: memoryview, reads: list[int], chunk: int) -> Iterator[bytes]:
    ends = accumulate(reads)
    at = end = 0
    room = _MOST_PLAIN
    while at < len(part):
        if not codec.starts(bytes(part[at : at + START])):
            raise _NotWholeError
        decoder = codec.decoder()
        while not decoder.eof:
            given = part[:0]
            if decoder.needs_input:
                if at == end and (end := next(ends, end)) == at:
                    raise _NotWholeError
                given, at = part[at:end], end
            if piece := decoder.decompress(given, chunk):
                room -= len(piece)
                if room < 0:
                    raise _NotWholeError
                yield piece
        at -= len(decoder.unused_data)
