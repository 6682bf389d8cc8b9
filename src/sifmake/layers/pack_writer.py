"""From a layer's compressed bytes to its pack, in one streaming pass that checks every digest on the way."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO, Protocol

import msgspec
from isal.isal_zlib import crc32

from sifmake.errors import IntegrityError, LayerError, WrongBlobError
from sifmake.layers.blocks import BlockWriter, Workers
from sifmake.layers.codec import BLOCK_SIZE, Codec
from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, HARDLINK, OPAQUE, SYMLINK, WHITEOUT, Entry
from sifmake.layers.inflate import inflate
from sifmake.layers.names import marker, normalise
from sifmake.layers.pack_format import FRAGMENT, Footer, Meta
from sifmake.layers.tar import Member, TarReader
from sifmake.sources.base import Passed
from sifmake.sources.compression import MAGICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.limits import Limits
    from sifmake.oci.model import Descriptor, Layer
    from sifmake.progress import Task
    from sifmake.sources.base import BlobReader, Candidate

KINDS = {b"0": FILE, b"1": HARDLINK, b"2": SYMLINK, b"3": CHAR, b"4": BLOCK, b"5": DIR, b"6": FIFO}
MOST_WARNINGS = 20
MACHINES_OWN = frozenset((b"security.selinux", b"system.nfs4_acl"))
"""Extended attributes that mean nothing elsewhere."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class CheckedBlob:
    """Reads a blob, counts and hashes it on the way; :meth:`finish` says whether it was the right one."""

    def __init__(self, reader: BlobReader, descriptor: Descriptor, task: Task) -> None:
        self._reader = reader
        self._descriptor = descriptor
        self._task = task
        self._hash = new_hash(descriptor.digest)
        self._size = 0

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` further bytes."""
        data = self._reader.read(size)
        self._hash.update(data)
        self._size += len(data)
        self._task.advance(len(data))
        if self._size > self._descriptor.size:
            raise WrongBlobError(
                f"blob is longer than the {self._descriptor.size} bytes that the manifest says",
                hint="the source is damaged or hostile; nothing was kept",
            )
        return data

    def finish(self) -> None:
        """Read to the end and check size and digest.

        Raises:
            WrongBlobError: One of them is wrong.
        """
        while self.read(1 << 18):
            pass
        if self._size != self._descriptor.size:
            raise WrongBlobError(
                f"blob ends after {self._size} of {self._descriptor.size} bytes",
                hint="fetch it again; nothing was kept",
            )
        check_digest(self._hash, self._descriptor.digest, "blob", WrongBlobError)


class Tally:
    """Counts and hashes bytes on their way.

    Attributes:
        size: Bytes so far.
    """

    def __init__(self, algorithm: str) -> None:
        self.size = 0
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)

    def add(self, data: bytes) -> bytes:
        """Return the same bytes."""
        self.size += len(data)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        """The digest of what came so far, in OCI's form."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"


def new_hash(digest: str) -> _Hash:
    """Return an empty hash of the algorithm that an OCI digest names."""
    return hashlib.new(digest.partition(":")[0])


def check_digest(actual: _Hash, expected: str, what: str, error: type[IntegrityError] = IntegrityError) -> None:
    """Compare a finished hash with an OCI digest.

    Raises:
        IntegrityError: They differ; of the given class.
    """
    algorithm, _, wanted = expected.partition(":")
    if actual.hexdigest() != wanted:
        raise error(
            f"{what} has the wrong digest: expected {expected}, got {algorithm}:{actual.hexdigest()}",
            hint="the source is damaged or was tampered with; nothing was kept",
        )


def write_pack(
    file: BinaryIO, reader: BlobReader, layer: Layer, codec: Codec, workers: Workers, limits: Limits, task: Task
) -> None:
    """Write the pack of a layer to an empty file.

    Args:
        file: Open for writing; the caller makes it appear under its name only after this returned.
        reader: The blob's bytes as the source has them.
        layer: Descriptor and DiffID that they must match.
        codec: How blocks are compressed.
        workers: Threads to compress on.
        limits: Bounds on what comes out of the blob.
        task: Told the compressed bytes that were read.

    Raises:
        WrongBlobError: Size or digest is wrong.
        IntegrityError: The DiffID is wrong.
        LayerError: Compression or tar stream is damaged or beyond a limit.
    """
    blob = CheckedBlob(reader, layer.descriptor, task)
    diff_id = new_hash(layer.diff_id)
    blocks = BlockWriter(file, codec, workers)
    try:
        tar = TarReader(_hashed(inflate(blob.read, limits), diff_id), limits)
        entries, warnings = _write_members(tar, blocks, _most_bytes(layer.descriptor.size, limits))
    except LayerError:
        # A blob that is not the one that was asked for explains its own garbage better.
        blob.finish()
        raise
    blob.finish()
    check_digest(diff_id, layer.diff_id, "uncompressed layer")
    blocks.finish()
    meta = Meta(layer.diff_id, codec.name, codec.level, codec.fingerprint, BLOCK_SIZE, warnings)
    write_index(file, blocks, entries, meta)


def write_passing(
    file: BinaryIO, candidate: Candidate, codec: Codec, workers: Workers, limits: Limits, task: Task
) -> Passed:
    """Write the pack of a layer of which nothing is known before to an empty file; return what it turned out to be.

    Args:
        file: Open for writing; the caller lets it count only when the layer is one that an image has.
        candidate: The layer.
        codec: How blocks are compressed.
        workers: Threads to compress on.
        limits: Bounds on what comes out of the blob.
        task: Told the bytes that were read.

    Raises:
        LayerError: Compression or tar stream is damaged or beyond a limit.
    """
    blob, plain = Tally(candidate.algorithm), Tally(candidate.algorithm)
    compressed = candidate.head.startswith(MAGICS)

    def read(size: int) -> bytes:
        data = candidate.reader.read(size)
        task.advance(len(data))
        return blob.add(data) if compressed else data

    blocks = BlockWriter(file, codec, workers)
    tar = TarReader(map(plain.add, inflate(read, limits)), limits)
    entries, warnings = _write_members(tar, blocks, _most_bytes(candidate.size, limits))
    blocks.finish()
    meta = Meta(plain.digest, codec.name, codec.level, codec.fingerprint, BLOCK_SIZE, warnings)
    write_index(file, blocks, entries, meta)
    outer = blob if compressed else plain
    return Passed(outer.size, outer.digest, plain.size, plain.digest)


def write_index(file: BinaryIO, blocks: BlockWriter, entries: list[Entry], meta: Meta) -> None:
    """Write index and footer behind finished blocks."""
    encode = msgspec.msgpack.encode
    fragments = b"".join(FRAGMENT.pack(*fragment) for fragment in blocks.fragments)
    parts = [encode(entries), encode(blocks.contents), fragments, encode(meta)]
    index_crc = 0
    for part in parts:
        file.write(part)
        index_crc = crc32(part, index_crc)
    file.write(Footer(blocks.crc, index_crc, blocks.position, *map(len, parts)).encode())


def _hashed(chunks: Iterator[bytes], digest: _Hash) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _most_bytes(size: int, limits: Limits) -> int:
    """Return how many bytes all files of a layer may have: holes of sparse files cost time, and nothing in the blob."""
    return min(limits.layer_bytes, max(limits.inflate_ratio_from, limits.inflate_ratio * size))


def _write_members(tar: TarReader, blocks: BlockWriter, most_bytes: int) -> tuple[list[Entry], list[str]]:
    """Store all members' contents; return their entries and what was odd about them."""
    entries: list[Entry] = []
    odd: list[str] = []
    total = 0
    for member in tar:
        path = normalise(member.name)
        if b".wh." in path and not _marker_entry(path, member, entries, odd):
            continue
        kind = KINDS[member.type]
        entry = Entry(path, kind, member.mode, member.uid, member.gid, member.mtime)
        if kind == FILE:
            entry.size = size = member.size
            total += size
            if total > most_bytes:
                raise _too_many_bytes(path, most_bytes)
            if size:
                small = size < BLOCK_SIZE
                entry.content = blocks.add_small(tar.take_all()) if small else blocks.add_large(size, tar.data())
        elif kind != DIR:
            _point(entry, member)
        if member.xattrs:
            entry.xattrs = _keep_xattrs(path, member.xattrs, odd)
        entries.append(entry)
    return entries, _shorten(odd)


def _too_many_bytes(path: bytes, most_bytes: int) -> LayerError:
    return LayerError(
        f"files of more than {most_bytes} bytes in all, far more than the layer's blob can hold",
        where=ascii(path)[2:-1],
        hint="the layer is hostile, or its limits (inflate_ratio, layer_bytes) are too low for it",
    )


def _point(entry: Entry, member: Member) -> None:
    """Say what a link or a device node points to."""
    if entry.kind == SYMLINK:
        entry.target = member.linkname
    elif entry.kind == HARDLINK:
        entry.target = normalise(member.linkname)
    elif entry.kind in (CHAR, BLOCK):
        entry.major, entry.minor = member.devmajor, member.devminor


def _marker_entry(path: bytes, member: Member, entries: list[Entry], odd: list[str]) -> bool:
    """Deal with a path that has ``.wh.`` in it; return True when it is an ordinary entry after all."""
    found = marker(path)
    if found is None:
        return True
    kind, hidden = found
    if kind in (WHITEOUT, OPAQUE):
        entries.append(Entry(hidden, kind, 0, 0, 0, 0))
    elif kind == 0:
        odd.append(f"ignored the malformed whiteout {ascii(path)[2:-1]}")
    # AUFS kept the first names of hard links in its own folder; they are needed to resolve the others.
    return kind < 0 and member.type == b"0"


def _keep_xattrs(
    path: bytes, xattrs: tuple[tuple[bytes, bytes], ...], odd: list[str]
) -> tuple[tuple[bytes, bytes], ...]:
    """Leave out attributes that describe the machine on which the layer was made, as umoci does."""
    kept = tuple(pair for pair in xattrs if pair[0] not in MACHINES_OWN)
    odd += [f"left out {name.decode()} of {ascii(path)[2:-1]}" for name, _ in xattrs if name in MACHINES_OWN]
    return kept


def _shorten(messages: list[str]) -> list[str]:
    if len(messages) <= MOST_WARNINGS:
        return messages
    return [*messages[:MOST_WARNINGS], f"and {len(messages) - MOST_WARNINGS} more like these"]
