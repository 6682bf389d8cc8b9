"""The minimum work of any builder of this kind, as fast as possible: the floor for all figures.

For each layer, the program inflates the blob, computes the SHA-256 of its compressed and its uncompressed bytes and of
every file, and compresses the files' bytes with libdeflate at level 6 in blocks of 128 KiB. It collects tails of files
into blocks, and skips repeated small files and blocks of zeros. It does not read tar headers, because the caller passes
the positions of the files, and it writes nothing.

``python -m benchmarks.floor THREADS BLOB EXTENTS [BLOB EXTENTS ...]`` prints JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from array import array
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue

import deflate
from isal import isal_zlib

BLOCK = 128 << 10
PIECE = 512 << 10
AHEAD = 64
"""Blocks that may wait for a compressing thread."""


class Compressor:
    """Threads that compress blocks and discard the result.

    Attributes:
        stored: Compressed bytes of all blocks.
    """

    def __init__(self, threads: int) -> None:
        self.stored = 0
        self._queue: SimpleQueue[bytes | memoryview | None] = SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def put(self, block: bytes | memoryview) -> None:
        """Queue a block."""
        self._room.acquire()
        self._queue.put(block)

    def finish(self) -> None:
        """Wait until all blocks are compressed."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        compress, get, release, stored = deflate.zlib_compress, self._queue.get, self._room.release, 0
        while (block := get()) is not None:
            stored += min(len(compress(block, 6)), len(block))
            release()
        self.stored += stored


class Files:
    """Cuts the uncompressed stream into files, hashes each file, and queues blocks."""

    def __init__(self, extents: array[int], compressor: Compressor) -> None:
        self._extents = iter(zip(extents[::2], extents[1::2], strict=True))
        self._put = compressor.put
        self._zeros = bytes(BLOCK)
        self._tails = bytearray()
        self._seen: set[bytes] = set()
        self._rest = b""
        self._base = 0
        self._next()

    def feed(self, piece: bytes) -> None:
        """Process the next bytes of the stream."""
        if self._rest:
            piece = self._rest + piece
            self._rest = b""
        view, base, end = memoryview(piece), self._base, self._base + len(piece)
        while self._start < end:
            start = self._start - base
            if self._size < BLOCK:
                if self._start + self._size > end:
                    break
                self._small(view[start : start + self._size])
            elif not self._large(view[start:]):
                break
            self._next()
        keep = max(self._start - base, 0)
        if keep < len(piece):
            self._rest, self._base = piece[keep:], base + keep
        else:
            self._base = end

    def finish(self) -> None:
        """Queue the last tails."""
        if self._tails:
            self._put(bytes(self._tails))

    def _next(self) -> None:
        self._start, self._size = next(self._extents, (1 << 62, 0))
        self._hash = sha256() if self._size >= BLOCK else None

    def _small(self, data: memoryview) -> None:
        digest = sha256(data).digest()
        if digest not in self._seen:
            self._seen.add(digest)
            self._tail(data)

    def _large(self, view: memoryview) -> bool:
        """Process the available bytes of a large file; return whether the file is complete."""
        assert self._hash is not None
        ready = min(len(view) // BLOCK, self._size // BLOCK) * BLOCK
        self._hash.update(view[:ready])
        for start in range(0, ready, BLOCK):
            block = view[start : start + BLOCK]
            if block[0] or block[-1] or bytes(block) != self._zeros:
                self._put(block)
        self._start += ready
        self._size -= ready
        if self._size >= BLOCK or len(view) - ready < self._size:
            return False
        tail = view[ready : ready + self._size]
        self._hash.update(tail)
        self._hash.digest()
        self._tail(tail)
        return True

    def _tail(self, data: memoryview) -> None:
        if len(self._tails) + len(data) > BLOCK:
            self._put(bytes(self._tails))
            self._tails = bytearray()
        self._tails += data


def run(layers: list[tuple[Path, Path]], threads: int) -> dict[str, object]:
    """Do the work once; return the seconds, the compressed and uncompressed digests, and the compressed size."""
    listed = [(blob, array("Q", extents.read_bytes())) for blob, extents in layers]
    begin, cpu = time.perf_counter(), time.process_time()
    compressor = Compressor(threads)
    digests = [_layer(blob, extents, compressor) for blob, extents in listed]
    compressor.finish()
    return {
        "seconds": time.perf_counter() - begin,
        "cpu": time.process_time() - cpu,
        "digests": digests,
        "stored": compressor.stored,
    }


def _layer(blob: Path, extents: array[int], compressor: Compressor) -> tuple[str, str]:
    packed, plain = sha256(), sha256()
    files = Files(extents, compressor)
    inflate = isal_zlib.decompressobj(31)
    with blob.open("rb", buffering=0) as file:
        while data := file.read(PIECE):
            packed.update(data)
            while data:
                piece = inflate.decompress(data)
                plain.update(piece)
                files.feed(piece)
                data = inflate.unused_data
                if inflate.eof and data:
                    inflate = isal_zlib.decompressobj(31)
    files.finish()
    return packed.hexdigest(), plain.hexdigest()


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[2:]]
    print(json.dumps(run(list(zip(paths[::2], paths[1::2], strict=True)), int(sys.argv[1]))))
