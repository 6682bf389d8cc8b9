"""Reads and checks the header and descriptor table of a SIF file, with the same rules for verifying and running.

Every command that starts a program imports this module, so for speed it has no dataclasses or enums; ``sifmake.sif``
turns its results into values.
"""

from __future__ import annotations

import itertools
import os
import stat
from struct import Struct

from sifmake.errors import SifError
from sifmake.ranges import read_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    Row = tuple[Any, ...]

HEADER: Final = Struct("<32s10s3s3s16s8q")
DESCRIPTOR: Final = Struct("<iBIIIqqqqqqq128s384s")
MAGIC: Final = b"SIF_MAGIC\0"
VERSION: Final = b"01\0"
_MAX_SLOTS: Final = 16384
_PARTITION: Final = 0x4004
_PRIMARY_SYSTEM: Final = 2
TYPE, ID, OFFSET, SIZE, EXTRA = 1, 3, 6, 7, 14
"""Positions in a row: the slot, then the fields of a descriptor in order."""


class NotSifError(SifError):
    """The file does not begin like a SIF file of a known version."""


class Table:
    """The checked parts of a SIF file: everything except the data of objects.

    Attributes:
        size: Bytes of the file.
        head: The 128 bytes of the header.
        total: Descriptor slots.
        offset: Offset of the descriptor table.
        rows: The used descriptors in the order of the table: slot, then the fields in order.
        leftovers: Slots that are not in use but contain bytes.
    """

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self.head = _read_head(fd)
        self.total, self.offset, table_size, self.data_offset = HEADER.unpack(self.head)[8:12]
        _check_header(self, table_size)
        self.rows, self.leftovers = _split(read_at(fd, self.total * DESCRIPTOR.size, self.offset))
        _check_ids(self.rows)
        _check_places(self)

    @property
    def end(self) -> int:
        """Offset of the first byte after the descriptor table."""
        return int(self.offset + self.total * DESCRIPTOR.size)

    @property
    def primary(self) -> Row | None:
        """The row of the primary partition, if there is one."""
        return next((row for row in self.rows if _is_primary(row)), None)


def read_table(fd: int) -> Table:
    """Read and check the SIF file that is open as ``fd``.

    Raises:
        NotSifError: It is not a SIF file of version 01.
        SifError: Its header, its table or the place of an object is invalid.
        OSError: The file cannot be read.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotSifError("not a regular file", hint="give the path of a SIF file")
    return Table(fd, status.st_size)


def _read_head(fd: int) -> bytes:
    """Return the header; NotSifError if magic or version are not those of a SIF file."""
    data = read_at(fd, HEADER.size, 0)
    if data[32:42] != MAGIC:
        from sifmake.not_sif import HEAD, describe

        what, hint = describe(read_at(fd, HEAD, 0))
        raise NotSifError(what, hint=hint)
    if len(data) < HEADER.size:
        raise SifError("the header is truncated", hint="download the file again")
    version = data[42:45]
    if version != VERSION:
        shown = version.rstrip(b"\0").decode("ascii", "backslashreplace")
        raise NotSifError(f"SIF version {shown} is not supported", hint="use a SIF file of version 01")
    return data


def _check_header(table: Table, table_size: int) -> None:
    """Refuse a descriptor table with an impossible place or size."""
    if not 0 <= table.total <= _MAX_SLOTS:
        raise SifError(f"the header claims {table.total} descriptors, but at most {_MAX_SLOTS} are accepted")
    if table.offset < HEADER.size:
        raise SifError(f"the descriptor table cannot begin at {table.offset}")
    if table_size < table.total * DESCRIPTOR.size:
        raise SifError(f"{table.total} descriptors do not fit into a table of {table_size} bytes")
    if table.end > table.size:
        raise SifError(
            f"the descriptor table ends after the end of the file ({table.size} bytes); the file is truncated"
        )
    if table.data_offset < table.end:
        raise SifError(f"data cannot begin at {table.data_offset}, inside the header or the descriptor table")


def _split(table: bytes) -> tuple[list[Row], list[int]]:
    """Return the used descriptors, and the unused slots that are not empty."""
    used: list[Row] = []
    leftovers: list[int] = []
    empty = bytes(DESCRIPTOR.size)
    for slot in range(len(table) // DESCRIPTOR.size):
        raw = table[slot * DESCRIPTOR.size : (slot + 1) * DESCRIPTOR.size]
        if raw[4]:
            used.append((slot, *DESCRIPTOR.unpack(raw)))
        elif raw != empty:
            leftovers.append(slot)
    return used, leftovers


def _is_primary(row: Row) -> bool:
    """Whether a row describes a primary system partition."""
    return row[TYPE] == _PARTITION and int.from_bytes(row[EXTRA][4:8], "little", signed=True) == _PRIMARY_SYSTEM


def _check_ids(rows: list[Row]) -> None:
    """Refuse the object number 0, duplicate object numbers, and two primary partitions."""
    seen: set[int] = set()
    for row in rows:
        if row[ID] == 0:
            raise SifError(f"descriptor slot {row[0]} has the object number 0, but numbers begin at 1")
        if row[ID] in seen:
            raise SifError(f"two objects have the number {row[ID]}")
        seen.add(row[ID])
    primaries = [str(row[ID]) for row in rows if _is_primary(row)]
    if len(primaries) > 1:
        raise SifError(f"objects {' and '.join(primaries[:2])} both claim to be the primary partition")


def _check_places(table: Table) -> None:
    """Refuse objects outside the file, or overlapping the header, the table or each other."""
    for row in table.rows:
        number, offset, size = row[ID], row[OFFSET], row[SIZE]
        if offset < 0 or size < 0:
            raise SifError(f"object {number} has a negative offset or size ({offset}, {size})")
        if offset < table.end:
            raise SifError(f"object {number} at {offset} overlaps the header or the descriptor table")
        if offset + size > table.size:
            raise SifError(
                f"object {number} ends at {offset + size}, after the end of the file ({table.size} bytes); "
                "the file is truncated or damaged"
            )
    ordered = sorted((row for row in table.rows if row[SIZE]), key=lambda row: (row[OFFSET], row[0]))
    for before, after in itertools.pairwise(ordered):
        if before[OFFSET] + before[SIZE] > after[OFFSET]:
            raise SifError(f"objects {before[ID]} and {after[ID]} overlap")
