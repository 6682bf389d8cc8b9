"""Add objects after the data of a finished SIF file, in place or in a copy, all or nothing."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.errors import SifError
from sifmake.files import atomic_write
from sifmake.os_errors import name_file
from sifmake.ranges import copy_some, write_at
from sifmake.sif.format import ZERO_TIME, Descriptor, Header
from sifmake.sif.plan import place
from sifmake.sif.reader import problems, read_sif
from sifmake.sif_table import DESCRIPTOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sifmake.sif.plan import NewObject
    from sifmake.sif.reader import Sif

_FICLONE = 0x40049409


@dataclass(frozen=True)
class Addition:
    """A small object and its data."""

    item: NewObject
    data: bytes


@contextmanager
def open_for_append(source: Path, target: Path) -> Iterator[Sif]:
    """Open a SIF file to add objects with ``append_objects`` inside the block.

    If ``target`` is ``source``, the file itself is opened and locked. Otherwise a copy beside ``target`` is opened, and
    renamed to the target if the block succeeds; the kernel makes the copy, and shares blocks if possible.

    Raises:
        SifError: The source is not a valid SIF file, or another process is adding to it.
        OSError: From open, copy or rename.
    """
    in_place = source == target or (target.exists() and source.samefile(target))
    try:
        with _open_in_place(source) if in_place else _open_copy(source, target) as sif:
            yield sif
    except OSError as error:
        name_file(error, target)
        raise


@contextmanager
def _open_in_place(source: Path) -> Iterator[Sif]:
    with _opened(source) as fd:
        _lock(fd, source)
        yield read_sif(fd, source)


@contextmanager
def _open_copy(source: Path, target: Path) -> Iterator[Sif]:
    with source.open("rb") as reader, atomic_write(target, 0o600) as file:
        copy_file(reader.fileno(), file.fileno())
        yield read_sif(file.fileno(), source)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Give a file descriptor for reading and writing, closed afterwards."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int, path: Path) -> None:
    """Lock the file against other signers; do nothing on file systems without locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SifError(
            "another process is adding to this file", where=str(path), hint="wait until it has finished"
        ) from None
    except OSError:
        return


def append_objects(sif: Sif, additions: Sequence[Addition]) -> tuple[Descriptor, ...]:
    """Write objects after the data of a file from ``open_for_append`` and add them to its table.

    A deterministic file keeps its times; otherwise the new descriptors and the header get the present time. Everything
    that can fail is done before the table is changed, so after an error the file is unchanged.

    Returns:
        The new descriptors.

    Raises:
        SifError: There is no free slot, or the file does not match its header.
        OSError: From write or fsync.
    """
    header, descriptors = _extended(sif, additions)
    try:
        os.ftruncate(sif.fd, descriptors[-1].end)
        for descriptor, addition in zip(descriptors, additions, strict=True):
            write_at(sif.fd, addition.data, descriptor.offset)
        os.fsync(sif.fd)
        for descriptor in descriptors:
            write_at(sif.fd, descriptor.pack(), header.table_offset + descriptor.slot * DESCRIPTOR.size)
        write_at(sif.fd, header.pack(), 0)
        os.fsync(sif.fd)
    except BaseException:
        for descriptor in descriptors:
            write_at(sif.fd, bytes(DESCRIPTOR.size), header.table_offset + descriptor.slot * DESCRIPTOR.size)
        write_at(sif.fd, sif.header.pack(), 0)
        os.ftruncate(sif.fd, sif.size)
        raise
    return tuple(descriptors)


def _extended(sif: Sif, additions: Sequence[Addition]) -> tuple[Header, list[Descriptor]]:
    """Return the header and the new descriptors that a file has after objects were added."""
    _check_sound(sif)
    now = ZERO_TIME if sif.header.deterministic else int(time.time())
    taken = {item.slot for item in sif.objects}
    free = [slot for slot in range(sif.header.total) if slot not in taken]
    if len(free) < len(additions):
        raise SifError(f"all {sif.header.total} descriptors of the table are in use", where=str(sif.path))
    descriptors: list[Descriptor] = []
    end = sif.size
    for addition, slot in zip(additions, free, strict=False):
        descriptors.append(place(addition.item, slot, end, now))
        end = descriptors[-1].end
    header = dataclasses.replace(
        sif.header,
        modified=now,
        free=sif.header.free - len(additions),
        data_size=end - sif.header.data_offset,
    )
    return header, descriptors


def _check_sound(sif: Sif) -> None:
    """Refuse to extend an inconsistent file, because a signature would seem to approve its content."""
    found = problems(sif)
    end = max([sif.header.data_offset, *(item.end for item in sif.objects)])
    if end < sif.size:
        found.append(f"{sif.size - end} bytes after the last object belong to no object")
    if found:
        raise SifError(found[0], where=str(sif.path), hint="build the file again")


def copy_file(source: int, target: int) -> None:
    """Copy content and permission bits to a new file, inside the kernel; clone where the file system can."""
    os.fchmod(target, os.fstat(source).st_mode & 0o777)
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        _copy_bytes(source, target)


def _copy_bytes(source: int, target: int) -> None:
    """Copy the whole content from one file descriptor to another."""
    offset, size = 0, os.fstat(source).st_size
    while offset < size:
        copied = copy_some(source, offset, target, offset, size - offset)
        if not copied:
            raise SifError("the file was truncated while it was copied", hint="try again")
        offset += copied
