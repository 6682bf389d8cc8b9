"""Turn a tar stream made by sifmake into a layer pack in the store."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Self

from sifmake.errors import LimitError, StoreError
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import make_codec
from sifmake.layers.image_budget import ImageBudget
from sifmake.layers.pack_finder import PackFinder
from sifmake.layers.pack_format import pack_key
from sifmake.layers.tar_writer import tar_stream
from sifmake.sources.base import LayerCandidate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sifmake.layers.entry import Entry
    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits
    from sifmake.progress import Progress
    from sifmake.sources.base import BlobReader
    from sifmake.store import Store

_HEAD = 512


class LayerMaker:
    """Makes and finds packs of one codec in a store; close it after use.

    Attributes:
        compression: How blocks are compressed, as for :func:`~sifmake.layers.codec.make_codec`.

    Args:
        store: Where the packs are kept.
        compression: How blocks are compressed, as for :func:`~sifmake.layers.codec.make_codec`.
        limits: Bounds on a layer.
        progress: Receives messages about new packs.
    """

    def __init__(self, store: Store, compression: str, limits: Limits, progress: Progress) -> None:
        self.compression = compression
        self._store = store
        self._limits = limits
        self._progress = progress
        self._codec = make_codec(compression)
        self._workers = Workers()
        self._stored = PackFinder(store, self._codec, self._workers, progress, limits)

    def find(self, diff_id: str) -> Pack | None:
        """Return the pack of a layer from the store; None if it has none."""
        return self._stored.find(diff_id)

    def make(self, stream: Iterable[bytes], label: str) -> Pack:
        """Make the pack of a tar stream.

        Args:
            stream: The uncompressed layer.
            label: Its name in progress messages.

        Raises:
            LayerError: The stream is not a layer, or exceeds a limit.
            StoreError: The store cannot be written.
        """
        reader = _StreamReader(stream)
        return self.make_of(reader, reader.head(_HEAD), label, reader.tell, self._limits.layer_bytes)

    def make_of_entries(self, entries: Iterable[tuple[Entry, Iterable[bytes]]], label: str) -> Pack:
        """Make the pack of entries and their contents; raises like :meth:`make`, and before it reads a huge file."""
        return self.make(tar_stream(_bounded(entries, self._limits.layer_bytes)), label)

    def make_of(self, reader: BlobReader, head: bytes, label: str, consumed: Callable[[], int], size: int) -> Pack:
        """Make the pack of a tar stream that may be compressed.

        Args:
            reader: Its bytes.
            head: Its first bytes.
            label: Its name in progress messages.
            consumed: Returns how many bytes were read so far.
            size: Bytes of the stream as it comes: holes of sparse files in it are bounded by that.

        Raises:
            LayerError: Like :meth:`make`.
        """
        from sifmake.layers.pack_writer import write_passing

        task = self._progress.task(label)
        candidate = LayerCandidate(label, reader, head, size, "sha256", consumed)
        budget = ImageBudget(self._limits)
        name, facts = self._store.packs.write_temporary(
            lambda file: write_passing(file, candidate, self._codec, self._workers, self._limits, task, budget)
        )
        try:
            self._store.packs.place(name, pack_key(facts.diff_id, self._codec))
        except BaseException:
            self._store.packs.drop_temporary(name)
            raise
        task.finish()
        made = self._stored.find(facts.diff_id)
        if made is None:
            what = "the layer that was just written cannot be opened"
            raise StoreError(what, where=str(self._store.root), hint="run the command again")
        return made

    def find_or_make(self, stream: Callable[[], Iterable[bytes]], label: str) -> Pack:
        """Return the pack of a tar stream, which is read once to find the pack in the store, and else again.

        Args:
            stream: Starts the stream again.
            label: Its name in progress messages.

        Raises:
            LayerError: Like :meth:`make`.
        """
        return self.find(_diff_id_of(stream())) or self.make(stream(), label)

    def close(self) -> None:
        """Stop the compressing threads."""
        self._workers.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bounded(entries: Iterable[tuple[Entry, Iterable[bytes]]], most: int) -> Iterator[tuple[Entry, Iterable[bytes]]]:
    """Pass on entries until their sizes exceed a limit: a file may have holes that take hours to read."""
    total = 0
    for entry, content in entries:
        total += entry.size
        if total > most:
            what = f"the layer is larger than {most} bytes"
            where = f"/{entry.path.decode(errors='replace')}"
            raise LimitError(what, where=where, hint="raise layer-bytes (limits: in sifmake.yaml)")
        yield entry, content


def _diff_id_of(stream: Iterable[bytes]) -> str:
    """Return the DiffID of a layer."""
    total = hashlib.sha256()
    for piece in stream:
        total.update(piece)
    return f"sha256:{total.hexdigest()}"


class _StreamReader:
    """Reads from pieces of bytes."""

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._pieces = iter(stream)
        self._rest = b""
        self._count = 0

    def head(self, size: int) -> bytes:
        """Return the first bytes without consuming them."""
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        return self._rest[:size]

    def tell(self) -> int:
        """Return the number of bytes read so far."""
        return self._count

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, empty at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = bytes(piece)
        data, self._rest = self._rest[:size], self._rest[size:]
        self._count += len(data)
        return data
