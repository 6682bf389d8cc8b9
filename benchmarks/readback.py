"""Reading mounted images back with tar, from a cold cache."""

from __future__ import annotations

import os
import statistics
import struct
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DROP = Path("/proc/sys/vm/drop_caches")
HEADER = struct.Struct("<32s10s3s3s16s8q")
DESCRIPTOR = struct.Struct("<i?IIIqqqqqqq128s384s")
PARTITION = 0x4004


def possible() -> bool:
    """Return whether this user can mount and drop caches."""
    return os.geteuid() == 0 and os.access(DROP, os.W_OK)


def partition_offset(sif: Path) -> int:
    """Return the offset of the squashfs in a SIF (SIF 1.0: header, descriptors)."""
    with sif.open("rb") as file:
        header = HEADER.unpack(file.read(HEADER.size))
        file.seek(header[9])
        for _ in range(header[8]):
            kind, used, _, _, _, offset, *_ = DESCRIPTOR.unpack(file.read(DESCRIPTOR.size))
            if used and kind == PARTITION:
                return int(offset)
    raise SystemExit(f"{sif} has no partition")


def compare(images: dict[str, tuple[Path, int]], mountpoint: Path, times: int) -> dict[str, float]:
    """Return the median seconds of reading each image; the images take turns.

    Args:
        images: Names to files and offsets of the squashfs in them.
        mountpoint: An empty folder.
        times: How often to read each image.
    """
    seconds: dict[str, list[float]] = {name: [] for name in images}
    for _ in range(times):
        for name, (path, offset) in images.items():
            seconds[name].append(_read(path, offset, mountpoint))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _read(path: Path, offset: int, mountpoint: Path) -> float:
    with _mounted(path, offset, mountpoint):
        os.sync()
        DROP.write_text("3\n")
        begin = time.perf_counter()
        # Into a pipe: GNU tar does not read the files when it sees that its output is /dev/null.
        tar = subprocess.Popen(["tar", "-C", mountpoint, "-cf", "-", "."], stdout=subprocess.PIPE)
        subprocess.run(["cat"], stdin=tar.stdout, stdout=subprocess.DEVNULL, check=True)
        if tar.wait():
            raise SystemExit(f"{path} cannot be read back")
        return time.perf_counter() - begin


@contextmanager
def _mounted(path: Path, offset: int, mountpoint: Path) -> Iterator[None]:
    mountpoint.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "squashfs", "-o", f"loop,ro,offset={offset}", path, mountpoint], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", mountpoint], check=True)
