"""A rebuild on a file system with reflinks: bytes that reach the disk (ADR 31)."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.image import CHANGED, FIRST
from benchmarks.report import Figure
from benchmarks.tool import Tool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench

_NAME = "rebuild on XFS: bytes written"
_SECTOR = 512
_PART_OF_FILE = 0.02
_LEAST_DISK, _PER_BYTE = 1 << 30, 4


def shared_blocks(bench: Bench) -> None:
    """Rebuild after a change of one small top layer on XFS: at most the change and 2 % of the file are written."""
    if why := _why_not():
        bench.report.skip(_NAME, why)
        return
    size = _LEAST_DISK + _PER_BYTE * bench.ensure_sif().stat().st_size
    with _xfs(bench.work, size) as disk:
        tool, target = Tool(disk / "store"), disk / "image.sif"
        tool.pull(bench.layout_reference(FIRST), target)
        old = _packs(tool.store)
        before = _written(disk)
        target.rename(disk / "before.sif")
        tool.pull(bench.layout_reference(CHANGED), target)
        os.sync()
        written = _written(disk) - before
        change = sum(size for name, size in _packs(tool.store).items() if name not in old)
        whole = target.stat().st_size
    limit = change + _PART_OF_FILE * whole
    note = f"the new pack has {change / 1e6:.2f} MB, the file {whole / 1e6:.1f} MB"
    bench.report.add(Figure(_NAME, written / 2**20, limit / 2**20, "MiB", note=note))


def _why_not() -> str:
    """Return why XFS cannot be measured here; empty if it can."""
    if os.geteuid() or not Path("/dev/loop-control").exists():
        return "mounting needs root and loop devices"
    return "" if shutil.which("mkfs.xfs") else "mkfs.xfs is missing"


@contextmanager
def _xfs(work: Path, size: int) -> Iterator[Path]:
    """Mount an empty XFS in a sparse file."""
    image, disk = work / "xfs.image", work / "xfs"
    disk.mkdir(exist_ok=True)
    with image.open("wb") as file:
        file.truncate(size)
    try:
        subprocess.run(["mkfs.xfs", "-q", "-f", "-m", "reflink=1", image], check=True)
        subprocess.run(["mount", "-t", "xfs", "-o", "loop", image, disk], check=True)
        try:
            yield disk
        finally:
            subprocess.run(["umount", disk], check=True)
    finally:
        image.unlink()


def _written(disk: Path) -> int:
    """Return the bytes that the device below a mounted folder was told to write so far."""
    os.sync()
    number = disk.stat().st_dev
    fields = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat").read_text().split()
    return int(fields[6]) * _SECTOR


def _packs(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (store / "packs").glob("*/*")}
