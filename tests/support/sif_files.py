"""Finished SIF files: a small one, and looking into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.sif import DataType, NewObject, open_sif, plan

if TYPE_CHECKING:
    from pathlib import Path


def partition_of(sif: Path, target: Path | None = None) -> Path:
    """Write the primary partition of a SIF file to a file of its own and return that."""
    target = target or sif.with_suffix(".squashfs")
    with open_sif(sif) as opened, sif.open("rb") as source:
        partition = opened.primary()
        assert partition is not None
        source.seek(partition.offset)
        target.write_bytes(source.read(partition.size))
    return target


def sif_of(data: bytes) -> bytes:
    """Return a SIF file that holds some bytes."""
    layout = plan([NewObject(DataType.GENERIC, len(data), "data")], arch="amd64")
    return layout.head.ljust(layout.offsets[0], b"\0") + data
