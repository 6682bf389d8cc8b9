"""Two versions of a SIF file of some MB: what a changed small layer does to a file, and one that was signed."""

from __future__ import annotations

import random

from sifmake.sif import DataType, FsType, NewObject, PartType, partition_extra, plan
from sifmake.sif.plan import PARTITION_ALIGNMENT

CHANGED = 200_000
"""Bytes in the newer version that the older one does not have, other than labels and superblock."""


def sif_version(*, newer: bool = False, signed: bool = False, size: int = 4_000_000, seed: int = 7) -> bytes:
    """Return a SIF file: definition, labels, squashfs of random blocks, perhaps something like a signature."""
    chance = random.Random(seed)
    base, changed = chance.randbytes(size), chance.randbytes(CHANGED)
    middle = size // 2
    superblock = b"hsqs" + (b"new" if newer else b"old") * 30 + b"\0\0"
    partition = superblock + (base[:middle] + changed + base[middle + 50_000 :] if newer else base)
    parts = [
        (DataType.DEFINITION, b"bootstrap: docker\nfrom: a:1\n" * (2 if newer else 1), b""),
        (DataType.LABELS, b'{"version":"2"}' if newer else b"{}", b""),
        (DataType.PARTITION, partition, partition_extra(FsType.SQUASHFS, PartType.PRIMARY_SYSTEM, "amd64")),
    ]
    if signed:
        parts.append((DataType.GENERIC, chance.randbytes(900), b""))
    objects = [
        NewObject(kind, len(data), extra=extra, alignment=PARTITION_ALIGNMENT if extra else 1)
        for kind, data, extra in parts
    ]
    layout = plan(objects, arch="amd64")
    content = bytearray(layout.size)
    content[: len(layout.head)] = layout.head
    for offset, (_, data, _extra) in zip(layout.offsets, parts, strict=True):
        content[offset : offset + len(data)] = data
    return bytes(content)
