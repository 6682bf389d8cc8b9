"""Writing a SIF file: small objects, superblock, copied data, tables; hashed on the way to the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from sifmake.assembly.placing import NOWHERE, PATCH, SUPERBLOCK_SIZE, DataPlan, Extent, plan_packs, plan_patch
from sifmake.errors import PackDamagedError, SifmakeError
from sifmake.files import atomic_write
from sifmake.layers.blocks import BlockWriter
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
from sifmake.squashfs import SquashfsOptions, build_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sifmake.flatten.tree import Tree
    from sifmake.layers.blocks import Workers
    from sifmake.layers.codec import Codec
    from sifmake.layers.entry import Content, Inode
    from sifmake.layers.pack_reader import Pack
    from sifmake.progress import Task
    from sifmake.squashfs import Placement

COPY_SIZE = 16 << 20
SYNC_BYTES = 64 << 20
HASH_SIZE = 4 << 20


@dataclass(frozen=True)
class Document:
    """A small object of a SIF file.

    Attributes:
        data_type: What it is.
        name: Name in its descriptor; may be empty.
        data: The bytes.
    """

    data_type: DataType
    name: str
    data: bytes


@dataclass(frozen=True)
class SifContents:
    """Everything that goes into one SIF file.

    Attributes:
        before: Documents in front of the partition.
        after: Documents behind it.
        tree: What the partition shows.
        files: Inodes of the tree that no pack has, with their bytes.
        packs: Where the other files' bytes are, by ``Inode.layer``.
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


@dataclass(frozen=True)
class SifSummary:
    """What was written.

    Attributes:
        size: Bytes of the file.
        objects: Hex SHA-256 of each object's data by its number.
        architecture: As the header has it.
        warnings: What does not fit into squashfs and was changed or left out.
    """

    size: int
    objects: dict[int, str]
    architecture: str
    warnings: tuple[str, ...]


def write_sif(target: Path, contents: SifContents, codec: Codec, workers: Workers, task: Task) -> SifSummary:
    """Write a SIF file beside ``target`` and rename it.

    Raises:
        SquashfsError: The tree does not fit into squashfs.
        PackDamagedError: A pack does not match its checksum; the target is as it was.
        OSError: As writing does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryFile(dir=target.parent) as patch,
        atomic_write(target, 0o777) as file,
        ThreadPoolExecutor(4) as threads,
    ):
        at = _lay_out(contents, 0).offsets[len(contents.before)]
        data, partly_dead = plan_packs(contents.tree, contents.packs)
        # Where the bytes of packs go is settled; the kernel copies them while the rest is worked out.
        copying = threads.submit(_copy_packs, file.fileno(), at, data.extents[:], contents.packs, workers, task)
        writer = BlockWriter(patch, codec, workers)
        plan_patch(data, partly_dead, contents.files, len(contents.packs), writer, workers)
        patch.flush()
        options = SquashfsOptions(compression=codec.name, level=codec.level, mkfs_time=contents.mkfs_time)
        place = _placer([*(pack.contents for pack in contents.packs), writer.contents], data)
        tables = build_tables(contents.tree, place, data.fragments, data.end, _metadata_compressor(codec), options)
        # From here on one thread hashes; until here the processor had no time for checksums.
        checks = [threads.submit(pack.check_data) for pack in contents.packs]
        layout = _lay_out(contents, data.end + len(tables.tail))
        _write_small(file, layout, contents)
        _write_at(file, at, tables.superblock)
        _copy_patch(file.fileno(), at + copying.result(), data.extents, patch.fileno(), task)
        _write_at(file, at + data.end, tables.tail)
        summary = _summarise(file, contents, layout, threads)
        for check in checks:
            check.result()
    return replace(summary, warnings=tables.warnings)


def _metadata_compressor(codec: Codec) -> Callable[[bytes], bytes]:
    compress = codec.compress
    return lambda block: bytes(compress(block))


def _placer(contents: list[list[Content]], data: DataPlan) -> Callable[[Inode], Placement]:
    """Return the function that tells where the image has the bytes of a file."""
    places = [[data.places.get(content.sha256) for content in some] for some in contents]

    def place(inode: Inode) -> Placement:
        found = places[inode.layer][inode.content] if inode.content >= 0 else NOWHERE
        if found is None:
            raise SifmakeError("a file of the tree has no place in the image", where=ascii(inode.path)[2:-1])
        return found

    return place


def _summarise(file: BinaryIO, contents: SifContents, layout: SifPlan, threads: ThreadPoolExecutor) -> SifSummary:
    number = len(contents.before)
    start = layout.offsets[number]
    end = layout.offsets[number + 1] if contents.after else layout.size
    partition = threads.submit(_hash_range, file.fileno(), start, end - start)
    # The disk works while the processor hashes.
    os.fsync(file.fileno())
    digests = [_sha256(item) for item in contents.before]
    digests += [partition.result(), *(_sha256(item) for item in contents.after)]
    objects = dict(enumerate(digests, start=1))
    return SifSummary(layout.size, objects, contents.architecture, ())


def _lay_out(contents: SifContents, size: int) -> SifPlan:
    extra = partition_extra(FsType.SQUASHFS, PartType.PRIMARY_SYSTEM, contents.architecture)
    partition = NewObject(DataType.PARTITION, size, alignment=PARTITION_ALIGNMENT, extra=extra)
    before = [NewObject(item.data_type, len(item.data), item.name) for item in contents.before]
    after = [NewObject(item.data_type, len(item.data), item.name) for item in contents.after]
    return plan([*before, partition, *after], arch=contents.architecture)


def _write_small(file: BinaryIO, layout: SifPlan, contents: SifContents) -> None:
    _write_at(file, 0, layout.head)
    for offset, item in zip(layout.offsets, contents.before, strict=False):
        _write_at(file, offset, item.data)
    for offset, item in zip(layout.offsets[len(contents.before) + 1 :], contents.after, strict=True):
        _write_at(file, offset, item.data)


def _write_at(file: BinaryIO, offset: int, data: bytes) -> None:
    file.seek(offset)
    file.write(data)
    file.flush()


def _copy_packs(
    target: int, at: int, extents: Sequence[Extent], packs: Sequence[Pack], workers: Workers, task: Task
) -> int:
    """Have the kernel copy from packs; return the offset in the partition behind what was copied.

    On file systems that can, it shares the blocks instead.
    """
    offset = SUPERBLOCK_SIZE
    unsynced = 0
    for extent in extents:
        copy_range(packs[extent.source].fd, extent.start, target, at + offset, extent.size, task)
        offset += extent.size
        unsynced += extent.size
        if unsynced >= SYNC_BYTES:
            workers.sync_soon(target)
            unsynced = 0
    return offset


def _copy_patch(target: int, at: int, extents: Sequence[Extent], patch: int, task: Task) -> None:
    for extent in extents:
        if extent.source == PATCH:
            copy_range(patch, extent.start, target, at, extent.size, task)
            at += extent.size


def copy_range(source: int, start: int, target: int, offset: int, size: int, task: Task) -> None:
    """Copy bytes from one open file to another.

    Raises:
        PackDamagedError: The source ends too early.
    """
    while size > 0:
        copied = _copy_some(source, start, target, offset, min(size, COPY_SIZE))
        if not copied:
            raise PackDamagedError("layer pack is cut off", hint="run the command again; the pack is made anew")
        task.advance(copied)
        start += copied
        offset += copied
        size -= copied


def _copy_some(source: int, start: int, target: int, offset: int, size: int) -> int:
    try:
        return os.copy_file_range(source, target, size, start, offset)
    except OSError as error:
        # Old kernels and some file systems cannot, or not from one file system to another.
        if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
            raise
    return os.pwrite(target, os.pread(source, min(size, HASH_SIZE), start), offset)


def _hash_range(fd: int, start: int, size: int) -> str:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(HASH_SIZE))
    end = start + size
    while start < end:
        got = os.preadv(fd, [buffer[: end - start]], start)
        if not got:
            raise OSError(errno.EIO, "a file that was just written is shorter than it was")
        digest.update(buffer[:got])
        start += got
    return digest.hexdigest()


def _sha256(item: Document) -> str:
    return hashlib.sha256(item.data).hexdigest()
