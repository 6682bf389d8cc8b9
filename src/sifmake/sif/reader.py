"""Read untrusted SIF files in little memory: everything is checked before it is used."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.errors import SifError
from sifmake.ranges import read_at
from sifmake.sif.extra import read_partition
from sifmake.sif.format import GROUP_MASK, Descriptor, Header
from sifmake.sif_table import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sifmake.sif.format import DataType

_SMALL_OBJECT = 16 << 20
"""Largest object to read into memory unless the caller says otherwise, bytes."""
_SHOWN_NUMBERS = 50
"""Most object numbers to list in a message."""


@dataclass(frozen=True, repr=False)
class Sif:
    """An open SIF file whose header, table and object places have been checked.

    Attributes:
        path: The file.
        fd: File descriptor, open for reading while the ``with`` block lasts.
        size: Bytes of the file.
        header: The global header.
        objects: The used descriptors in the order of the table.
        leftovers: Slots that are not in use but contain bytes.
    """

    path: Path
    fd: int
    size: int
    header: Header
    objects: tuple[Descriptor, ...]
    leftovers: tuple[int, ...]

    def __repr__(self) -> str:
        architecture = self.header.architecture
        return f"Sif(path={str(self.path)!r}, {architecture}, {len(self.objects)} objects, {self.size} bytes)"

    def find(
        self, data_type: DataType | None = None, *, name: str | None = None, group: int | None = None
    ) -> list[Descriptor]:
        """Return the objects with a type, a name and a group; criteria that are not given are ignored."""
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
        numbers = [str(item.id) for item in self.objects]
        have = ", ".join(numbers[:_SHOWN_NUMBERS] + ["..."] * (len(numbers) > _SHOWN_NUMBERS)) or "none"
        raise SifError(f"there is no object {number}", where=str(self.path), hint=f"it has {have}")

    def problems(self) -> list[str]:
        """Return the problems in fields that reading does not need; one clause each."""
        return problems(self)

    def primary(self) -> Descriptor | None:
        """Return the primary partition, if there is one."""
        return next((item for item in self.objects if _is_primary(item)), None)

    def pread(self, item: Descriptor, size: int, offset: int = 0) -> bytes:
        """Return up to ``size`` bytes from ``offset`` inside an object; fewer only at the object's end.

        Raises:
            SifError: The file was truncated since it was opened.
        """
        want = max(0, min(size, item.size - offset))
        data = read_at(self.fd, want, item.offset + offset)
        if len(data) < want:
            raise SifError(f"object {item.id} ends too early: the file was truncated", where=str(self.path))
        return data

    def read(self, item: Descriptor, limit: int = _SMALL_OBJECT) -> bytes:
        """Return all data of an object.

        Raises:
            SifError: It has more than ``limit`` bytes.
        """
        if item.size > limit:
            raise SifError(f"object {item.id} has {item.size} bytes, at most {limit} expected", where=str(self.path))
        return self.pread(item, item.size)

    def chunks(self, item: Descriptor, size: int = 1 << 20) -> Iterator[bytes]:
        """Yield the data of an object in pieces of ``size`` bytes."""
        for offset in range(0, item.size, size):
            yield self.pread(item, size, offset)


@contextmanager
def open_sif(path: Path) -> Iterator[Sif]:
    """Open and check a SIF file.

    Raises:
        NotSifError: It is not a SIF file of version 01.
        SifError: Its header, its table or the place of an object is invalid.
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
        return _checked(fd, path)
    except SifError as error:
        raise error.within(str(path)) from None


def _checked(fd: int, path: Path) -> Sif:
    """Read and check everything except the data."""
    table = read_table(fd)
    objects = tuple(Descriptor(*row) for row in table.rows)
    return Sif(path, fd, table.size, Header.unpack(table.head), objects, tuple(table.leftovers))


def _is_primary(item: Descriptor) -> bool:
    """Whether an object is a primary system partition."""
    part = read_partition(item)
    return part is not None and part.primary


def problems(sif: Sif) -> list[str]:
    """Return the problems in fields that reading does not need; one clause each."""
    found: list[str] = []
    if sif.header.free != sif.header.total - len(sif.objects):
        found.append(f"the header counts {sif.header.free} free descriptors of {sif.header.total}")
    found += [f"descriptor slot {slot} is not in use but not empty" for slot in sif.leftovers]
    main = sif.primary()
    part = read_partition(main) if main is not None else None
    if part is not None and part.arch != sif.header.arch:
        found.append(f"the header names another architecture than the primary partition, which is {part.arch_name}")
    groups = {item.group_id for item in sif.objects if item.group_id}
    numbers = {item.id for item in sif.objects}
    for item in sif.objects:
        found += _object_problems(item, groups, numbers)
    return found


def _object_problems(item: Descriptor, groups: set[int], numbers: set[int]) -> Iterator[str]:
    """Yield problems of one descriptor; ``groups`` and ``numbers`` exist in the file."""
    if item.id != item.slot + 1:
        yield f"object {item.id} is in descriptor slot {item.slot}"
    if item.used != 1:
        yield f"object {item.id} has {item.used} for its used flag"
    if item.group & GROUP_MASK != GROUP_MASK:
        yield f"object {item.id} has an impossible group field"
    if item.linked_group and item.linked_group not in groups:
        yield f"object {item.id} is linked to group {item.linked_group}, which does not exist"
    if item.linked_object and item.linked_object not in numbers:
        yield f"object {item.id} is linked to object {item.linked_object}, which does not exist"
