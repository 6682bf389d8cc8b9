"""Looking into finished SIF files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.sif import open_sif

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
