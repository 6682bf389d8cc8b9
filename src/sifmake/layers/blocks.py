"""Cut file contents into compressed blocks and write them in order, with many threads and bounded memory."""

from __future__ import annotations

import os
import struct
from collections import deque
from hashlib import sha256
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from isal.isal_zlib import crc32

from sifmake.layers.codec import BLOCK_SIZE, STORED_UNCOMPRESSED, Codec
from sifmake.layers.entry import Content
from sifmake.layers.hashing import Hashing
from sifmake.layers.syncing import BackgroundSync
from sifmake.sources.base import no_matter
from sifmake.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from typing_extensions import Buffer

SYNC_BYTES = 32 << 20
"""Bytes to write before a background sync is started, so that little is left for the last fsync."""

_BATCH = 8
"""Blocks that a thread compresses in one go, because handing work to a thread costs about as much as compressing a few
KiB.
"""

_MOST_PARTS = 4
"""Parts of layers to inflate ahead at a time. Four threads inflate faster than one can hash."""

_ZEROS = bytes(BLOCK_SIZE)
_WORD = struct.Struct("<I")


class Workers:
    """Threads that compress blocks, shared by all layers, and one thread that flushes written bytes to the disk.

    Attributes:
        threads: How many compress.
        parts: Room for parts of layers that are inflated ahead; who holds one may have such a part in memory.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self.parts = BoundedSemaphore(min(_MOST_PARTS, self.threads + 1))
        self._pool = Threads(self.threads, thread_name_prefix="compress")
        self._sync = Threads(1, thread_name_prefix="sync")

    def submit(self, work: Callable[..., Any], *args: object) -> Future[Any]:
        """Run ``work`` in a compressing thread."""
        return self._pool.submit(work, *args)

    def sync_soon(self, fd: int) -> Future[None]:
        """Write a file's dirty pages out in the background.

        Returns:
            The result, which the caller must check: see :class:`~sifmake.layers.syncing.BackgroundSync`.
        """
        # The file may be closed before this runs; another file may then have its number, and this would take that
        # file's error.
        own = os.dup(fd)
        future = self._sync.submit(_sync_and_close, own)
        future.add_done_callback(lambda done: os.close(own) if done.cancelled() else None)
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._sync.shutdown(wait=True, cancel_futures=True)


def _sync_and_close(fd: int) -> None:
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


_Batch = list[tuple[Content | None, "Buffer"]]
"""Blocks, each with the file it belongs to; None for fragment blocks."""


def _compress_all(compress: Callable[[Buffer], Any], batch: _Batch) -> list[tuple[int, Any]]:
    """Return each block's squashfs word and the bytes to store; a file's block of zeros has no stored bytes."""
    out: list[tuple[int, Any]] = []
    for content, block in batch:
        view = memoryview(block)
        size = len(view)
        if content is not None and view[0] == view[size >> 1] == view[-1] == 0 and view.tobytes() == _ZEROS:
            out.append((0, b""))
            continue
        data = compress(block)
        out.append((len(data), data) if len(data) < size else (size | STORED_UNCOMPRESSED, block))
    return out


class BlockWriter:
    """Writes the data region of a pack: full blocks of files, and fragment blocks that hold tails.

    The data of one file stays together; blocks are written in the order in which they were added.

    Attributes:
        contents: One per distinct file content, in the order of first use.
        fragments: Start, block word and uncompressed size of each fragment block.
        position: Bytes written so far.
        crc: CRC-32 of these bytes.
    """

    def __init__(
        self,
        file: BinaryIO,
        codec: Codec,
        workers: Workers,
        count: Callable[[int], object] = no_matter,
        hashing: Hashing | None = None,
    ) -> None:
        """Start with nothing written.

        Args:
            file: Open for writing.
            codec: Compresses the blocks.
            workers: Run it.
            count: Called with the stored bytes of blocks, also of those that another file turns out to have; what it
                raises ends the work.
            hashing: Hashes files of at least one block; if it has a thread, their contents have no SHA-256 until
                :meth:`finish`.
        """
        self._count = count
        self._hashing = hashing or Hashing()
        self._sizes: set[int] = set()
        self._unsettled: list[tuple[Content, int, Any]] = []
        self.contents: list[Content] = []
        self.fragments: list[tuple[int, int, int]] = []
        self.position = 0
        self.crc = 0
        self._crc_before = 0
        self._file = file
        self._compress = codec.compress
        self._workers = workers
        self._seen: dict[bytes, int] = {}
        self._words: dict[int, bytearray] = {}
        self._tails = bytearray()
        self._fragments_begun = 0
        self._batch: _Batch = []
        self._pending: deque[tuple[_Batch, Future[Any]]] = deque()
        self._most_pending = 2 + 2 * workers.threads
        self._syncing = BackgroundSync(workers, SYNC_BYTES)

    def add_small(self, data: bytes | memoryview) -> int:
        """Store the whole content of a file of 1 byte to less than a block; return its content's index."""
        digest = sha256(data).digest()
        known = self._seen.get(digest)
        if known is not None:
            return known
        fragment, offset = self.add_tail(data)
        self._seen[digest] = len(self.contents)
        return self._register(Content(digest, len(data), 0, 0, b"", fragment, offset))

    def add_large(self, size: int, pieces: Iterable[bytes | bytearray | memoryview]) -> int:
        """Store a file of ``size`` bytes, at least one block, given in pieces; return its content's index."""
        content = Content(b"", size, -1, 0, b"")
        digest = sha256()
        is_apart = self._hashing.is_apart and size not in self._sizes  # no content can be the same
        self._words[id(content)] = bytearray()
        rest = b""
        for piece in pieces:
            if is_apart:
                self._hashing.update(digest.update, piece)
            else:
                digest.update(piece)
            rest = self._add_blocks(content, rest, piece)
        if not is_apart:
            self._settle()
            content.sha256 = digest.digest()
            known = self._seen.get(content.sha256)
            if known is not None:
                self._take_back(content)
                return known
        if rest:
            content.fragment, content.offset = self.add_tail(rest)
        self._sizes.add(size)
        self._unsettled.append((content, len(self.contents), digest))
        return self._register(content)

    def add(self, data: bytes) -> int:
        """Store the whole content of a file of any size above zero; return its content's index."""
        return self.add_small(data) if len(data) < BLOCK_SIZE else self.add_large(len(data), (data,))

    def add_tail(self, tail: bytes | memoryview) -> tuple[int, int]:
        """Put less than a block of bytes into a fragment block; return the fragment's number and the offset."""
        if len(self._tails) + len(tail) > BLOCK_SIZE:
            self._end_fragment()
        place = self._fragments_begun, len(self._tails)
        self._tails += tail
        return place

    def finish(self) -> None:
        """Write everything that is still pending.

        Raises:
            OSError: As write and fdatasync do, for everything written since the beginning.
        """
        if self._tails:
            self._end_fragment()
        self._send_batch()
        while self._pending:
            self._write_next()
        self._settle()
        self._syncing.wait()

    def _settle(self) -> None:
        """Complete the SHA-256 of all contents."""
        if self._unsettled:
            self._hashing.settle()
        for content, number, digest in self._unsettled:
            content.sha256 = digest.digest()
            self._seen[content.sha256] = number
        self._unsettled.clear()

    def _take_back(self, content: Content) -> None:
        """Remove the blocks of a file whose content is in the pack already; no others come after them."""
        self._words.pop(id(content), None)  # those that are still pending will not be written
        if content.start >= 0:
            self.position, self.crc = content.start, self._crc_before
            self._file.seek(self.position)
            self._file.truncate()

    def _register(self, content: Content) -> int:
        index = len(self.contents)
        self.contents.append(content)
        return index

    def _add_blocks(self, content: Content, rest: bytes, piece: bytes | bytearray | memoryview) -> bytes:
        """Cut full blocks out of the rest of the last piece and the next piece; return the new rest."""
        view = memoryview(piece)
        start = 0
        if rest:
            start = BLOCK_SIZE - len(rest)
            rest += view[:start]
            if len(rest) < BLOCK_SIZE:
                return rest
            self._add_block(content, rest)
        end = start + (len(view) - start) // BLOCK_SIZE * BLOCK_SIZE
        for at in range(start, end, BLOCK_SIZE):
            self._add_block(content, view[at : at + BLOCK_SIZE])
        return bytes(view[end:])

    def _end_fragment(self) -> None:
        block, self._tails = self._tails, bytearray()
        self._fragments_begun += 1
        self._add_block(None, block)

    def _add_block(self, content: Content | None, block: Buffer) -> None:
        self._batch.append((content, block))
        if len(self._batch) == _BATCH:
            self._send_batch()

    def _send_batch(self) -> None:
        batch, self._batch = self._batch, []
        self._pending.append((batch, self._workers.submit(_compress_all, self._compress, batch)))
        while len(self._pending) > self._most_pending or (self._pending and self._pending[0][1].done()):
            self._write_next()

    def _write_next(self) -> None:
        batch, future = self._pending.popleft()
        done = future.result()
        self._count(sum(len(data) for _, data in done))
        for (content, block), (word, data) in zip(batch, done, strict=True):
            if content is None:
                self.fragments.append((self.position, word, len(memoryview(block))))
            elif id(content) in self._words:
                self._note_block(content, word, len(data))
            else:
                continue  # taken back
            self._file.write(data)
            self.crc = crc32(data, self.crc)
            self.position += len(data)
            if self._syncing.is_due(len(data)):
                self._file.flush()
                self._syncing.start(self._file.fileno())

    def _note_block(self, content: Content, word: int, stored: int) -> None:
        words = self._words[id(content)]
        words += _WORD.pack(word)
        if content.start < 0:
            content.start, self._crc_before = self.position, self.crc
        content.stored += stored
        if not word:
            content.sparse += BLOCK_SIZE
        if len(words) == content.size // BLOCK_SIZE * 4:
            content.blocks = bytes(self._words.pop(id(content)))
