"""Whether a signed file is the finished SIF file that a lock names by its SHA-256, plus the project's signature.

Adding a signature changes the header and enters descriptors in free slots of the table; nothing else changes. The
header before that comes from a record. A record proves nothing, and need not: with it, the digest must be the lock's.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from sifmake.errors import SifError
from sifmake.project.records import read_record
from sifmake.ranges import READ_SIZE, read_at
from sifmake.sif import DataType
from sifmake.sif_table import DESCRIPTOR, HEADER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sifmake.project.locks import PrebuiltLock
    from sifmake.sif import Sif

HEADER_MEMBER = "header"
"""Of the results of the stages sign and publish: the header before the signature was added, hexadecimal."""


def header_of(path: Path) -> str:
    """Return the header of a SIF file in the form that records have."""
    with path.open("rb") as file:
        return file.read(HEADER.size).hex()


def kept_header(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the next stage's result takes over of the header before signing; nothing if there is none."""
    return {HEADER_MEMBER: result[HEADER_MEMBER]} if HEADER_MEMBER in result else {}


def recorded_header(*records: Path) -> bytes:
    """Return the header before signing as the first of some records tells it; empty if none does."""
    for path in records:
        record = read_record(path)
        try:
            header = bytes.fromhex(record["result"][HEADER_MEMBER]) if record is not None else b""
        except (KeyError, TypeError, ValueError):
            continue
        if len(header) == HEADER.size:
            return header
    return b""


def is_finished_file(sif: Sif, lock: PrebuiltLock, header: bytes) -> bool:
    """Tell whether a file is the one that a lock of a finished SIF file names, apart from signatures behind its end.

    Args:
        sif: The file, open.
        lock: Names size and SHA-256.
        header: The header before the signature was added, as a record tells it; the file's own where it is empty.
    """
    size = lock.size
    added = [item for item in sif.objects if item.offset >= size]
    if any(item.data_type != DataType.SIGNATURE for item in added):
        return False
    slots = (sif.header.table_offset + item.slot * DESCRIPTOR.size for item in added)
    patches = [(at, bytes(DESCRIPTOR.size)) for at in slots]
    if added and header:
        patches.append((0, header))
    return sif.size >= size and _digest(sif.fd, size, patches) == lock.file


def is_as_it_came(sif: Sif, lock: PrebuiltLock) -> bool:
    """Tell whether nothing was added to a finished file."""
    return sif.size == lock.size


def _digest(fd: int, size: int, patches: Iterable[tuple[int, bytes]]) -> str:
    """Return the SHA-256 of the first bytes of a file with some of them replaced."""
    total, at = hashlib.sha256(), 0
    for start, data in [*sorted(patches), (size, b"")]:
        while at < start:
            piece = read_at(fd, min(READ_SIZE, start - at), at)
            if not piece:
                raise SifError("the file was cut while it was read")
            total.update(piece)
            at += len(piece)
        total.update(data)
        at += len(data)
    return f"sha256:{total.hexdigest()}"
