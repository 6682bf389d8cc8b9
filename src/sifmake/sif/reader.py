"""Reading SIF files that nobody vouches for: everything is checked before it is used, in little memory."""

from __future__ import annotations

import itertools
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.errors import SifError
from sifmake.ranges import read_at
from sifmake.sif.extra import read_partition
from sifmake.sif.format import DESCRIPTOR, GROUP_MASK, HEADER, MAGIC, VERSION, Descriptor, Header

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sifmake.sif.format import DataType

MAX_SLOTS = 16384
SMALL_OBJECT = 16 << 20
"""Bytes of the largest object that is read into memory unless the caller says otherwise."""


class NotSifError(SifError):
    """The file does not begin as a SIF file of a known version does."""


@dataclass(frozen=True)
class Sif:
    """An open SIF file whose header, table and object places have been checked.

    Attributes:
        path: The file.
        fd: File descriptor, open for reading while the ``with`` block lasts.
        size: Bytes of the file.
        header: The global header.
        objects: The used descriptors in the order of the table.
        leftovers: Slots that are not in use and yet hold bytes.
    """

    path: Path
    fd: int
    size: int
    header: Header
    objects: tuple[Descriptor, ...]
    leftovers: tuple[int, ...]

    def find(
        self, data_type: DataType | None = None, *, name: str | None = None, group: int | None = None
    ) -> list[Descriptor]:
        """Return the objects of a type, with a name, in a group; what is not given does not matter."""
        return [
            item
            for item in self.objects
            if (data_type is None or item.data_type == data_type)
            and (name is None or item.label == name)
            and (group is None or item.group_id == group)
        ]

    def get(self, number: int) -> Descriptor:
        """Return the object with a number; SifError if there is none."""
        for item in self.objects:
            if item.id == number:
                return item
        have = ", ".join(str(item.id) for item in self.objects) or "none"
        raise SifError(f"there is no object {number}", where=str(self.path), hint=f"it has: {have}")

    def primary(self) -> Descriptor | None:
        """Return the primary partition, if there is one."""
        return next((item for item in self.objects if is_primary(item)), None)

    def pread(self, item: Descriptor, size: int, offset: int = 0) -> bytes:
        """Return up to ``size`` bytes from ``offset`` inside an object; fewer only at the object's end.

        Raises:
            SifError: The file has become shorter since it was opened.
        """
        want = max(0, min(size, item.size - offset))
        data = read_at(self.fd, want, item.offset + offset)
        if len(data) < want:
            raise SifError(f"object {item.id} ends too early: the file has been cut", where=str(self.path))
        return data

    def read(self, item: Descriptor, limit: int = SMALL_OBJECT) -> bytes:
        """Return the whole data of an object.

        Raises:
            SifError: It has more than ``limit`` bytes.
        """
        if item.size > limit:
            raise SifError(f"object {item.id} has {item.size} bytes, at most {limit} expected", where=str(self.path))
        return self.pread(item, item.size)

    def chunks(self, item: Descriptor, size: int = 1 << 20) -> Iterator[bytes]:
        """Give the data of an object in pieces of ``size`` bytes."""
        for offset in range(0, item.size, size):
            yield self.pread(item, size, offset)


@contextmanager
def open_sif(path: Path) -> Iterator[Sif]:
    """Open and check a SIF file.

    Raises:
        NotSifError: It is no SIF file of version 01.
        SifError: Its header, table or an object's place cannot be true.
        OSError: It cannot be opened or read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield read_sif(fd, path)
    finally:
        os.close(fd)


def read_sif(fd: int, path: Path) -> Sif:
    """Check the SIF file that is open as ``fd``; ``path`` is for messages. Raises as ``open_sif``."""
    try:
        return checked(fd, path)
    except SifError as error:
        raise error.within(str(path)) from None


def checked(fd: int, path: Path) -> Sif:
    """Read and check everything but the data."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotSifError("not a regular file", hint="give the path of a SIF file")
    header = read_header(fd)
    check_header(header, status.st_size)
    table = read_at(fd, header.total * DESCRIPTOR.size, header.table_offset)
    objects, leftovers = split_table(table)
    check_ids(objects)
    check_places(objects, header, status.st_size)
    return Sif(path, fd, status.st_size, header, tuple(objects), tuple(leftovers))


def read_header(fd: int) -> Header:
    """Return the header; NotSifError if magic or version are not those of a SIF."""
    data = read_at(fd, HEADER.size, 0)
    if data[32:42] != MAGIC:
        raise NotSifError("not a SIF file", hint="the magic SIF_MAGIC is missing in its first 128 bytes")
    if len(data) < HEADER.size:
        raise SifError("the header is cut off", hint="get the file again")
    header = Header.unpack(data)
    if header.version != VERSION:
        shown = header.version.rstrip(b"\0").decode("ascii", "backslashreplace")
        raise NotSifError(f"SIF version {shown} is not supported", hint="only version 01 is known")
    return header


def check_header(header: Header, size: int) -> None:
    """Refuse a descriptor table that cannot be there."""
    if not 0 <= header.total <= MAX_SLOTS:
        raise SifError(f"the header claims {header.total} descriptors, at most {MAX_SLOTS} are accepted")
    if header.table_offset < HEADER.size:
        raise SifError(f"the descriptor table cannot begin at {header.table_offset}")
    if header.table_size < header.total * DESCRIPTOR.size:
        raise SifError(f"{header.total} descriptors do not fit into a table of {header.table_size} bytes")
    if header.table_offset + header.total * DESCRIPTOR.size > size:
        raise SifError(f"the descriptor table ends behind the end of the file ({size} bytes); the file is cut off")
    if header.data_offset < header.table_offset + header.total * DESCRIPTOR.size:
        raise SifError(f"data cannot begin at {header.data_offset}, inside header or descriptor table")


def split_table(table: bytes) -> tuple[list[Descriptor], list[int]]:
    """Return the used descriptors, and the unused slots that are not empty."""
    used: list[Descriptor] = []
    leftovers: list[int] = []
    empty = bytes(DESCRIPTOR.size)
    for slot in range(len(table) // DESCRIPTOR.size):
        raw = table[slot * DESCRIPTOR.size : (slot + 1) * DESCRIPTOR.size]
        if raw[4]:
            used.append(Descriptor.unpack(slot, raw))
        elif raw != empty:
            leftovers.append(slot)
    return used, leftovers


def check_ids(objects: Sequence[Descriptor]) -> None:
    """Refuse object numbers that name nothing or two things."""
    seen: set[int] = set()
    for item in objects:
        if item.id == 0:
            raise SifError(f"descriptor slot {item.slot} has the object number 0; numbers begin at 1")
        if item.id in seen:
            raise SifError(f"two objects have the number {item.id}")
        seen.add(item.id)
    primaries = [str(item.id) for item in objects if is_primary(item)]
    if len(primaries) > 1:
        raise SifError(f"objects {' and '.join(primaries[:2])} both claim to be the primary partition")


def check_places(objects: Sequence[Descriptor], header: Header, size: int) -> None:
    """Refuse objects outside of the file, over header or table, or over each other."""
    table_end = header.table_offset + header.total * DESCRIPTOR.size
    for item in objects:
        if item.offset < 0 or item.size < 0:
            raise SifError(f"object {item.id} has a negative offset or size ({item.offset}, {item.size})")
        if item.offset < table_end:
            raise SifError(f"object {item.id} at {item.offset} lies over the header or the descriptor table")
        if item.end > size:
            raise SifError(
                f"object {item.id} ends at {item.end}, behind the end of the file ({size} bytes); "
                "the file is cut off or damaged"
            )
    ordered = sorted((item for item in objects if item.size), key=lambda item: item.offset)
    for before, after in itertools.pairwise(ordered):
        if before.end > after.offset:
            raise SifError(f"objects {before.id} and {after.id} lie over each other")


def is_primary(item: Descriptor) -> bool:
    """Whether an object is a primary system partition."""
    part = read_partition(item)
    return part is not None and part.primary


def problems(sif: Sif) -> list[str]:
    """Return what is wrong in fields that reading does not need; one clause each."""
    found: list[str] = []
    if sif.header.free != sif.header.total - len(sif.objects):
        found.append(f"the header counts {sif.header.free} free descriptors of {sif.header.total}")
    found += [f"descriptor slot {slot} is not in use and yet not empty" for slot in sif.leftovers]
    main = sif.primary()
    part = read_partition(main) if main is not None else None
    if part is not None and part.arch != sif.header.arch:
        found.append(f"the header names another architecture than the primary partition, which is {part.arch_name}")
    groups = {item.group_id for item in sif.objects if item.group_id}
    numbers = {item.id for item in sif.objects}
    for item in sif.objects:
        found += object_problems(item, groups, numbers)
    return found


def object_problems(item: Descriptor, groups: set[int], numbers: set[int]) -> Iterator[str]:
    """Give what is odd in one descriptor; ``groups`` and ``numbers`` are those that the file has."""
    if item.id != item.slot + 1:
        yield f"object {item.id} stands in descriptor slot {item.slot}"
    if item.used != 1:
        yield f"object {item.id} has {item.used} for its used flag"
    if item.group & GROUP_MASK != GROUP_MASK:
        yield f"object {item.id} has an impossible group field"
    if item.linked_group and item.linked_group not in groups:
        yield f"object {item.id} is linked to group {item.linked_group}, which is not there"
    if item.linked_object and item.linked_object not in numbers:
        yield f"object {item.id} is linked to object {item.linked_object}, which is not there"
