"""Check whether a signed file is the prebuilt SIF file of a lock, plus the project's signature.

Adding a signature changes the header and writes descriptors to free slots of the table; nothing else changes. The
header before signing comes from a record. The record need not be trusted: with its header, the file must have the
digest of the lock.
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
"""Member of the results of stages sign and publish: the header before the signature was added, hexadecimal."""


def header_of(path: Path) -> str:
    """Return the header of a SIF file in the form used in records."""
    with path.open("rb") as file:
        return file.read(HEADER.size).hex()


def kept_header(result: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a result that the next stage copies: the header before signing; empty if there is none."""
    return {HEADER_MEMBER: result[HEADER_MEMBER]} if HEADER_MEMBER in result else {}


def recorded_header(*records: Path) -> bytes:
    """Return the header before signing from the first record that has it; empty if none has."""
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
    """Tell whether a file is the prebuilt SIF file of a lock, apart from signatures that were appended.

    Args:
        sif: The file, open.
        lock: Names size and SHA-256.
        header: The header before the signature was added, from a record; if empty, the file's present header is used.
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
    """Tell whether nothing was added to a prebuilt file."""
    return sif.size == lock.size


def _digest(fd: int, size: int, patches: Iterable[tuple[int, bytes]]) -> str:
    """Return the SHA-256 of the first bytes of a file with some of them replaced."""
    total, at = hashlib.sha256(), 0
    for start, data in [*sorted(patches), (size, b"")]:
        while at < start:
            piece = read_at(fd, min(READ_SIZE, start - at), at)
            if not piece:
                raise SifError("the file was truncated while it was read")
            total.update(piece)
            at += len(piece)
        total.update(data)
        at += len(data)
    return f"sha256:{total.hexdigest()}"
