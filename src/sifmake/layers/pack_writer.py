"""Turn a layer's compressed bytes into its pack, in one streaming pass that checks every digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import msgspec
from isal.isal_zlib import crc32

from sifmake.errors import LayerError
from sifmake.layers.array_part import encoded_array
from sifmake.layers.blocks import BlockWriter, Workers
from sifmake.layers.checked_blob import CheckedBlob, Tally, check_digest
from sifmake.layers.codec import BLOCK_SIZE, Codec
from sifmake.layers.image_budget import ImageBudget
from sifmake.layers.inflate import HEAD_BYTES, inflate
from sifmake.layers.members import most_bytes, store_members
from sifmake.layers.overlap import Overlap
from sifmake.layers.pack_format import FRAGMENT, Footer, Meta
from sifmake.layers.residue import ResidueWriter
from sifmake.layers.tar import TarReader
from sifmake.sources.base import LayerFacts
from sifmake.sources.compression import begins_compressed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.limits import Limits
    from sifmake.oci.model import Layer
    from sifmake.progress import Task
    from sifmake.sources.base import BlobReader, LayerCandidate


def write_pack(
    file: BinaryIO,
    reader: BlobReader,
    layer: Layer,
    codec: Codec,
    workers: Workers,
    limits: Limits,
    task: Task,
    budget: ImageBudget | None = None,
) -> None:
    """Write the pack of a layer to an empty file.

    Args:
        file: Open for writing; the caller renames it to its final name only after this function returned.
        reader: The blob's bytes as the source provides them.
        layer: Descriptor and DiffID that they must match.
        codec: How blocks are compressed.
        workers: Threads to compress on.
        limits: Bounds on the uncompressed bytes.
        task: Receives the number of compressed bytes that were read.
        budget: What the layers of the image may take together; without it, only this layer is bounded.

    Raises:
        LimitError: The layers together take more.
        WrongBlobError: Size or digest is wrong.
        IntegrityError: The DiffID is wrong.
        LayerError: Compression or tar stream is damaged or beyond a limit.
    """
    size = layer.descriptor.size
    with Overlap(workers, size) as overlap:
        blob = CheckedBlob(reader, layer.descriptor, task, overlap.blob)
        budget = budget or ImageBudget(limits, size)
        blocks = BlockWriter(file, codec, workers, budget.count_blocks, overlap.files)
        packing = _Packing(blocks, limits, size, budget)
        try:
            plain, chunks = _tallied(blob, layer, limits, overlap)
            packing.take(chunks, overlap)
        except LayerError:
            # A wrong blob is the better explanation for garbage in it, so it is reported first.
            blob.finish()
            raise
        blob.finish()
        check_digest(plain, layer.diff_id, "uncompressed layer")
        packing.finish(file, codec, plain)


def _tallied(blob: CheckedBlob, layer: Layer, limits: Limits, overlap: Overlap) -> tuple[Tally, Iterator[bytes]]:
    """Return the uncompressed bytes and their tally: a blob that is its own DiffID is hashed only once."""
    if layer.descriptor.digest == layer.diff_id and not begins_compressed(blob.head(HEAD_BYTES)):
        return blob.tally, inflate(blob.read, limits)
    plain = Tally(layer.diff_id.partition(":")[0], overlap.stream)
    return plain, map(plain.add, inflate(blob.read, limits, workers=overlap.inflaters))


class _Packing:
    """Cuts an uncompressed layer into files, and these into blocks; then writes the rest of the pack."""

    def __init__(self, blocks: BlockWriter, limits: Limits, size: int, budget: ImageBudget) -> None:
        self._blocks = blocks
        self._limits = limits
        self._most = most_bytes(size, limits)
        self._budget = budget
        self._residue = ResidueWriter()
        self._entries: Iterable[bytes | bytearray] = ()
        self._warnings: list[str] = []

    def take(self, chunks: Iterable[bytes], overlap: Overlap) -> None:
        """Store the files of the whole stream."""
        overlap.consume(self._budget.inflating(chunks), self._unpack)

    def finish(self, file: BinaryIO, codec: Codec, plain: Tally) -> None:
        """Write what is pending, and the index."""
        self._blocks.finish()
        meta = Meta(plain.digest, codec.name, codec.level, codec.fingerprint, BLOCK_SIZE, self._warnings)
        write_index(file, self._blocks, self._entries, meta, [self._residue.finish(plain.size)])

    def _unpack(self, chunks: Iterator[bytes]) -> None:
        tar = TarReader(chunks, self._limits, self._residue)
        entries, self._warnings = store_members(tar, self._blocks, self._most, self._budget)
        self._entries = entries.pieces()


def write_passing(
    file: BinaryIO,
    candidate: LayerCandidate,
    codec: Codec,
    workers: Workers,
    limits: Limits,
    task: Task,
    budget: ImageBudget,
) -> LayerFacts:
    """Write the pack of a layer with unknown digests to an empty file; return what the layer turned out to be.

    Args:
        file: Open for writing; the caller uses it only if an image has this layer.
        candidate: The layer.
        codec: How blocks are compressed.
        workers: Threads to compress on.
        limits: Bounds on the uncompressed bytes.
        task: Receives the number of bytes that were read.
        budget: What all layers may take together.

    Raises:
        LimitError: They take more.
        LayerError: Compression or tar stream is damaged or beyond a limit.
    """
    compressed = begins_compressed(candidate.head)
    budget.follow(candidate.consumed)
    with Overlap(workers, candidate.size) as overlap:
        blob, plain = Tally(candidate.algorithm, overlap.blob), Tally(candidate.algorithm, overlap.stream)

        def read(size: int) -> bytes:
            data = candidate.reader.read(size)
            task.advance(len(data))
            return blob.add(data) if compressed else data

        blocks = BlockWriter(file, codec, workers, budget.count_blocks, overlap.files)
        packing = _Packing(blocks, limits, candidate.size, budget)
        packing.take(map(plain.add, inflate(read, limits, workers=overlap.inflaters)), overlap)
        packing.finish(file, codec, plain)
        outer = blob if compressed else plain
        return LayerFacts(outer.size, outer.digest, plain.size, plain.digest)


def write_index(
    file: BinaryIO,
    blocks: BlockWriter,
    entries: Iterable[bytes | bytearray],
    meta: Meta,
    residue: Iterable[bytes],
) -> None:
    """Write the index, the residue and the footer after the blocks.

    Args:
        file: Open for writing.
        blocks: The finished blocks.
        entries: Bytes of the encoded entries.
        meta: The pack's description of itself.
        residue: Bytes of the residue; none if the pack has none.
    """
    fragments = (FRAGMENT.pack(*fragment) for fragment in blocks.fragments)
    entries_size, crc = _write_part(file, entries)
    contents_size, crc = _write_part(file, encoded_array(blocks.contents), crc)
    fragments_size, crc = _write_part(file, fragments, crc)
    meta_size, crc = _write_part(file, [msgspec.msgpack.encode(meta)], crc)
    sizes = (entries_size, contents_size, fragments_size, meta_size)
    file.write(Footer(blocks.crc, crc, blocks.position, *sizes, *_write_part(file, residue)).encode())


def _write_part(file: BinaryIO, pieces: Iterable[bytes | bytearray], crc: int = 0) -> tuple[int, int]:
    """Write bytes and return their number, and the CRC-32 continued with them."""
    size = 0
    for piece in pieces:
        file.write(piece)
        crc = crc32(piece, crc)
        size += len(piece)
    return size, crc
