"""Making layer patches, or reusing those that builds of other images on the same layers left in the store."""

from __future__ import annotations

import os
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, Self

import msgspec
from isal.isal_zlib import crc32

from sifmake.assembly.patch_file import Group, PatchFile, load_patch, write_index
from sifmake.assembly.tails import compress_group
from sifmake.errors import PackDamagedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from sifmake.assembly.tails import LiveTails, TailGroup
    from sifmake.layers.blocks import Workers
    from sifmake.layers.codec import Codec
    from sifmake.layers.pack_reader import Pack
    from sifmake.store import Store
    from sifmake.store.stored_files import Found

LEAST = 1 << 20
"""Smallest patch to keep, in uncompressed bytes; a smaller one is made again in a few milliseconds."""

_SIBLINGS = 4
"""Most patches of the same pack to search for unchanged groups."""

_Known = dict[bytes, tuple[PatchFile, int, Group]]
"""Groups of other patches by key: the file, the offset of their data, and their entry in the index."""


class Patch(msgspec.Struct, frozen=True):
    """Compressed fragment blocks in a file.

    Attributes:
        fd: The file; the maker owns it.
        start: Offset of the first block.
        words: One squashfs word per block, all groups together.
    """

    fd: int
    start: int
    words: list[int]


class PatchMaker:
    """Makes patches; those worth keeping are stored if the block succeeds.

    Not earlier, because only then it is known that the packs from which they were made are undamaged.
    """

    def __init__(self, codec: Codec, workers: Workers, spool: BinaryIO, store: Store | None) -> None:
        """Set up the maker.

        Args:
            codec: Codec of the blocks.
            workers: Threads to compress on.
            spool: File for patches that are not kept; appended to.
            store: Keeps patches; may be None.
        """
        self._codec = codec
        self._workers = workers
        self._spool = spool
        self._store = store
        self._opened = ExitStack()
        self._unfinished = ExitStack()

    def make(self, tails: LiveTails) -> Patch:
        """Return the patch of a pack.

        Raises:
            PackDamagedError: A fragment block of the pack cannot be read.
        """
        if self._store is None or tails.size < LEAST:
            return self._spooled(tails, {})
        key = tails.key(self._codec)
        return self._stored(self._store, key, tails) or self._made(self._store, key, tails)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            try:
                self._unfinished.__exit__(kind, error, trace)
            except OSError as trouble:
                self._warn(trouble)

    def _stored(self, store: Store, key: str, tails: LiveTails) -> Patch | None:
        """Return the patch in the store, completely checked."""
        stored = store.patches.open(key)
        found = self._load(store, stored) if stored is not None else None
        if found is None:
            return None
        if why := _why_not(found, tails):
            self._drop(store, key, why)
            return None
        return Patch(found.fd, 0, [word for group in found.index.groups for word in group.words])

    def _made(self, store: Store, key: str, tails: LiveTails) -> Patch:
        known = self._siblings(store, tails)
        try:
            with ExitStack() as begun:
                file = begun.enter_context(store.patches.writing(key))
                groups = self._write(file, tails, known)
                write_index(file, key, groups)
                file.flush()
                # The image copies from this file, so errors of the disk must be found before that.
                os.fdatasync(file.fileno())
                self._unfinished.push(begun.pop_all())
        except (OSError, StoreError) as error:
            self._warn(error)
            return self._spooled(tails, known)
        return Patch(file.fileno(), 0, [word for group in groups for word in group.words])

    def _spooled(self, tails: LiveTails, known: _Known) -> Patch:
        start = self._spool.seek(0, os.SEEK_END)
        groups = self._write(self._spool, tails, known)
        self._spool.flush()
        return Patch(self._spool.fileno(), start, [word for group in groups for word in group.words])

    def _write(self, file: BinaryIO, tails: LiveTails, known: _Known) -> list[Group]:
        groups = []
        for group, (words, stored) in zip(tails.groups, self._compressed(tails, known), strict=True):
            file.write(stored)
            groups.append(Group(group.key, tuple(words), crc32(stored)))
        return groups

    def _compressed(self, tails: LiveTails, known: _Known) -> Iterator[tuple[Sequence[int], bytes]]:
        """Yield words and bytes of each group in order; a few are compressed at the same time."""
        pending: deque[Future[tuple[Sequence[int], bytes]]] = deque()
        for group in tails.groups:
            pending.append(self._workers.submit(_take_or_compress, tails.pack, group, self._codec, known))
            if len(pending) > self._workers.threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _siblings(self, store: Store, tails: LiveTails) -> _Known:
        """Find groups of the same pack that other images have stored."""
        wanted = {group.key: group.blocks for group in tails.groups}
        known: _Known = {}
        for stored in store.patches.open_latest(tails.key_prefix(self._codec), _SIBLINGS):
            patch = self._load(store, stored)
            start = 0
            for group in patch.index.groups if patch is not None else ():
                if patch is not None and wanted.get(group.key) == len(group.words):
                    known.setdefault(group.key, (patch, start, group))
                start += group.stored
        return known

    def _load(self, store: Store, found: Found) -> PatchFile | None:
        self._opened.callback(os.close, found.fd)
        key = found.path.name
        try:
            return load_patch(found.fd, key)
        except PackDamagedError as error:
            self._drop(store, key, error.what)
            return None

    def _drop(self, store: Store, key: str, why: str) -> None:
        store.progress.warning(f"the patch {key} in the store is damaged: {why}; it will be rebuilt")
        store.patches.drop(key)

    def _warn(self, error: Exception) -> None:
        if self._store is not None:
            self._store.progress.warning(f"cannot keep a patch in the store: {error}")


def _why_not(found: PatchFile, tails: LiveTails) -> str:
    """Return why a file is not the patch of these tails; empty if it is."""
    held = [(group.key, len(group.words)) for group in found.index.groups]
    if held != [(group.key, group.blocks) for group in tails.groups]:
        return "it contains other tails"
    try:
        found.check()
    except PackDamagedError as error:
        return error.what
    return ""


def _take_or_compress(pack: Pack, group: TailGroup, codec: Codec, known: _Known) -> tuple[Sequence[int], bytes]:
    if group.key in known:
        patch, start, stored = known[group.key]
        try:
            return stored.words, patch.read(start, stored)
        except PackDamagedError:
            pass  # compress it again
    return compress_group(pack, group, codec)
