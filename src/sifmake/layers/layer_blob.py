"""Write the blob of a layer from its pack: the exact tar stream, as it is or compressed again."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

import deflate

from sifmake.errors import PackDamagedError
from sifmake.layers.checked_blob import Tally
from sifmake.layers.content_reader import ContentReader
from sifmake.layers.rebuild import tar_of
from sifmake.layers.tar_writer import tar_stream
from sifmake.memory import demand_room, is_limited

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from sifmake.layers.blocks import Workers
    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits
    from sifmake.progress import Task

_MEMBER: Final = 1 << 20
"""Bytes of the stream in one gzip member: members are compressed on many threads, and always cut at the same places."""
_LEVEL: Final = 6


class LayerBlob(NamedTuple):
    """A blob that was written.

    Attributes:
        digest: SHA-256 of its bytes, as ``sha256:...``.
        size: Bytes.
    """

    digest: str
    size: int


def write_layer_blob(
    file: BinaryIO, pack: Pack, limits: Limits, workers: Workers, task: Task, *, compressed: bool
) -> LayerBlob:
    """Write a layer to an empty file; the same layer and library give the same bytes.

    Args:
        file: Open for writing.
        pack: Its pack; without a residue, it gives only layers that sifmake wrote, such as those of build steps.
        limits: Bounds on a layer.
        workers: Threads to compress on.
        task: Receives the number of bytes of the tar stream that are done.
        compressed: Whether to compress with gzip: members of 1 MiB, which every reader of gzip joins (RFC 1952).

    Raises:
        PackDamagedError: The pack is damaged, cannot give the layer, or holds another one.
        OSError: From writing.
    """
    tally, digest, size = Tally(pack.meta.diff_id.partition(":")[0]), hashlib.sha256(), 0

    def told(piece: bytes) -> bytes:
        task.advance(len(piece))
        return tally.add(piece)

    plain = map(told, tar_of(pack, limits) if pack.has_residue else _written_again(pack))
    for piece in _members(plain, workers) if compressed else plain:
        file.write(piece)
        digest.update(piece)
        size += len(piece)
    if tally.digest != pack.meta.diff_id and not pack.has_residue:
        what = "the layer pack has no residue, and the layer was not written by sifmake"
        raise PackDamagedError(what, where=str(pack.path), hint="remove the file and build the image again")
    if tally.digest != pack.meta.diff_id:
        what = f"the layer pack holds another layer than {pack.meta.diff_id}: {tally.digest}"
        raise PackDamagedError(what, where=str(pack.path), hint="run `sifmake cache verify`, then pull the image again")
    return LayerBlob(f"sha256:{digest.hexdigest()}", size)


def _written_again(pack: Pack) -> Iterator[bytes]:
    """Return the tar stream of a layer as sifmake writes it; the caller compares it with the DiffID."""
    contents = ContentReader(pack)
    files = (
        (entry, map(bytes, contents.pieces(pack.contents[entry.content])) if entry.content >= 0 else ())
        for entry in pack.stored_entries()
    )
    return tar_stream(files)


def _members(pieces: Iterable[bytes], workers: Workers) -> Iterator[bytes]:
    """Yield gzip members, compressed on all threads and in order."""
    pending: deque[Future[bytes]] = deque()
    for member in _cut(pieces):
        pending.append(workers.submit(_compress, member))
        while len(pending) > 2 * workers.threads:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield pieces of exactly one member each, and a shorter last one; one empty piece if there is nothing."""
    rest, is_first = bytearray(), True
    for piece in pieces:
        rest += piece
        while len(rest) >= _MEMBER:
            yield bytes(rest[:_MEMBER])
            del rest[:_MEMBER]
            is_first = False
    if rest or is_first:
        yield bytes(rest)


def _compress(data: bytes) -> bytes:
    if is_limited():
        demand_room()  # deflate does not check its own allocations
    return bytes(deflate.gzip_compress(data, _LEVEL))
