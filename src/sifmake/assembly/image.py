"""Write a SIF file: small objects, superblock, copied data, tables; hashed while it is written."""

from __future__ import annotations

import hashlib
import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from sifmake.assembly.copying import SYNC_BYTES, copy_moves, hash_extents, share_extents
from sifmake.assembly.patches import PatchMaker
from sifmake.assembly.placing import SUPERBLOCK_SIZE, DataPlan, place_files, place_tails, plan_packs
from sifmake.files import OpenTarget, atomic_write, make_folders
from sifmake.layers.blocks import BlockWriter
from sifmake.layers.syncing import BackgroundSync
from sifmake.os_errors import naming
from sifmake.ranges import read_at
from sifmake.room import check_open_file
from sifmake.sif import (
    PARTITION_ALIGNMENT,
    DataType,
    FsType,
    NewObject,
    PartType,
    SifPlan,
    partition_extra,
    plan,
)
from sifmake.squashfs import SquashfsOptions, draft_tables
from sifmake.temporaries import open_nameless
from sifmake.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from sifmake.assembly.copying import Move
    from sifmake.assembly.extents import Extent
    from sifmake.flatten.tree import Tree
    from sifmake.layers.blocks import Workers
    from sifmake.layers.codec import Codec
    from sifmake.layers.entry import Inode
    from sifmake.layers.pack_reader import Pack
    from sifmake.progress import Task
    from sifmake.squashfs import Draft, Tables
    from sifmake.store import Store


class Document(msgspec.Struct, frozen=True):
    """A small object of a SIF file.

    Attributes:
        data_type: Its type.
        name: Name in its descriptor; may be empty.
        data: The bytes.
    """

    data_type: DataType
    name: str
    data: bytes


class SifContents(msgspec.Struct, frozen=True):
    """Everything that goes into one SIF file.

    Attributes:
        before: Documents before the partition.
        after: Documents after the partition.
        tree: The tree of the partition.
        files: Inodes of the tree that are in no pack, with their bytes.
        packs: The packs with the other files' bytes, by ``Inode.layer``.
        architecture: In Go's spelling.
        mkfs_time: Time stamp of the squashfs, seconds.
    """

    before: Sequence[Document]
    after: Sequence[Document]
    tree: Tree
    files: Sequence[tuple[Inode, bytes]]
    packs: Sequence[Pack]
    architecture: str
    mkfs_time: int


class SifSummary(msgspec.Struct, frozen=True):
    """The result of writing a SIF file.

    Attributes:
        size: Bytes of the file.
        objects: Hex SHA-256 of each object's data by its number; empty for an open file.
        architecture: The architecture in the header.
        warnings: Warnings about things that squashfs cannot store and that were changed or left out.
        sha256: Hex SHA-256 of an open file; else empty.
    """

    size: int
    objects: dict[int, str]
    architecture: str
    warnings: tuple[str, ...]
    sha256: str = ""


def write_sif(
    target: Path | OpenTarget,
    contents: SifContents,
    codec: Codec,
    workers: Workers,
    task: Task,
    store: Store | None = None,
) -> SifSummary:
    """Write a SIF file beside ``target`` and rename it.

    Args:
        target: Replaced when the new file is complete; an open file is written, and neither synced nor renamed.
        contents: The contents.
        codec: Codec of the squashfs.
        workers: Threads to compress on.
        task: Receives the progress of copying.
        store: Keeps patches for the next image on the same layers; it does not change the bytes.

    Raises:
        SquashfsError: The tree does not fit into squashfs.
        PackDamagedError: A pack does not match its checksum; the target is unchanged.
        OSError: From writing.
    """
    synced = not isinstance(target, OpenTarget)
    path = target if not isinstance(target, OpenTarget) else target.path
    make_folders(path.parent)
    with (
        open_nameless(path.parent) as spool,
        _opened(target) as file,
        PatchMaker(codec, workers, spool, store) as patches,
        Threads(4) as threads,
        naming(path),  # synced last, because patches written meanwhile would take its errors for theirs
    ):
        return _Writer(file, contents, codec, workers, threads, task, synced).write(spool, patches)


def _opened(target: Path | OpenTarget) -> AbstractContextManager[BinaryIO]:
    """Return the file to write, empty."""
    if not isinstance(target, OpenTarget):
        return atomic_write(target, 0o777)
    target.file.truncate(0)  # an earlier attempt may have written to it
    return nullcontext(target.file)


class _Writer(msgspec.Struct, frozen=True):
    """Writes one SIF file: one thread copies, one makes patches, and this one makes tables, then hashes."""

    file: BinaryIO
    contents: SifContents
    codec: Codec
    workers: Workers
    threads: Threads
    task: Task
    synced: bool

    def write(self, spool: BinaryIO, patches: PatchMaker) -> SifSummary:
        contents, submit = self.contents, self.threads.submit
        at = _lay_out(contents, 0).offsets[len(contents.before)]
        data, tails = plan_packs(contents.tree, contents.packs)
        # The places of the packs' bytes are known, so the kernel can share or copy them while the rest is prepared.
        end, taken = data.end, len(data.extents)
        moves = self._share(at + SUPERBLOCK_SIZE, data.extents)
        check_open_file(self.file.fileno(), sum(move.size for move in moves))
        syncs = [BackgroundSync(self.workers, SYNC_BYTES) for _ in range(2)] if self.synced else [None, None]
        copying = submit(self._copy, moves, syncs[0])
        self._add_files(data, spool)
        patching = submit(lambda: [patches.make(some) for some in tails])
        draft = self._draft(data, place_tails(data, tails))
        for patch in patching.result():
            data.take_patch(patch)
        rest = submit(self._copy, self._share(at + end, data.extents[taken:]), syncs[1])
        checking = submit(_check, copying, contents.packs)
        tables = draft.finish(data.fragments, data.end)
        layout = self._write_small(at, data.end, tables)
        syncing = submit(self._sync, (copying, rest), syncs, spool)
        partition, whole = self._hash(at, data, tables, layout.size)
        for work in (checking, syncing):
            work.result()
        digests = [*map(_sha256, contents.before), partition, *map(_sha256, contents.after)] if self.synced else []
        objects = dict(enumerate(digests, 1))
        return SifSummary(layout.size, objects, contents.architecture, tables.warnings, whole)

    def _hash(self, at: int, data: DataPlan, tables: Tables, size: int) -> tuple[str, str]:
        """Return the digest of the partition, or that of the whole file if the caller names it; the other is empty."""
        if self.synced:
            return hash_extents(tables.superblock, data.extents, tables.tail), ""
        fd, start, end = self.file.fileno(), at + SUPERBLOCK_SIZE, at + data.end
        return "", hash_extents(read_at(fd, start, 0), data.extents, read_at(fd, size - end, end))

    def _share(self, at: int, extents: Sequence[Extent]) -> list[Move]:
        return share_extents(self.file.fileno(), at, extents, self.task)

    def _copy(self, moves: Sequence[Move], syncing: BackgroundSync | None) -> None:
        copy_moves(self.file.fileno(), moves, syncing, self.task)

    def _sync(self, copies: Sequence[Future[None]], syncs: Sequence[BackgroundSync | None], spool: BinaryIO) -> None:
        """Wait for the disk while the processor hashes."""
        for copy in copies:
            copy.result()
        for sync in syncs:
            if sync is not None:
                sync.wait()
        # Bytes of the spool that the disk lost may have been copied from it; only a sync reports that.
        os.fdatasync(spool.fileno())
        if self.synced:
            os.fsync(self.file.fileno())

    def _add_files(self, data: DataPlan, spool: BinaryIO) -> None:
        """Place the files that no pack has."""
        writer = BlockWriter(spool, self.codec, self.workers)
        place_files(data, self.contents.files, len(self.contents.packs), spool.fileno(), writer)
        spool.flush()

    def _draft(self, data: DataPlan, fragments: int) -> Draft:
        options = SquashfsOptions(self.codec.format, mkfs_time=self.contents.mkfs_time)
        compress, tree = self.codec.compress, self.contents.tree
        return draft_tables(tree, data.placement, fragments, lambda block: bytes(compress(block)), options)

    def _write_small(self, at: int, end: int, tables: Tables) -> SifPlan:
        """Write everything except the data region, which ends at ``end`` in the partition; return the file's layout."""
        contents = self.contents
        layout = _lay_out(contents, end + len(tables.tail))
        number = len(contents.before)
        offsets = [*layout.offsets[:number], *layout.offsets[number + 1 :]]
        documents = zip(offsets, (item.data for item in (*contents.before, *contents.after)), strict=True)
        parts: list[tuple[int, bytes | bytearray]] = [(0, layout.head), *documents]
        parts += [(at, tables.superblock), (at + end, tables.tail)]
        for offset, part in parts:
            self.file.seek(offset)
            self.file.write(part)
        self.file.flush()
        return layout


def _check(copying: Future[None], packs: Sequence[Pack]) -> None:
    """Check packs after their bytes have been read, so that they are in the page cache."""
    copying.result()
    for pack in packs:
        pack.check_data()


def _lay_out(contents: SifContents, size: int) -> SifPlan:
    extra = partition_extra(FsType.SQUASHFS, PartType.PRIMARY_SYSTEM, contents.architecture)
    partition = NewObject(DataType.PARTITION, size, alignment=PARTITION_ALIGNMENT, extra=extra)
    before = [NewObject(item.data_type, len(item.data), item.name) for item in contents.before]
    after = [NewObject(item.data_type, len(item.data), item.name) for item in contents.after]
    return plan([*before, partition, *after], arch=contents.architecture)


def _sha256(item: Document) -> str:
    return hashlib.sha256(item.data).hexdigest()
