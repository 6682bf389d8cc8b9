"""File systems with reflinks in an image file, mounted by loop."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAKE = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "btrfs": ["mkfs.btrfs", "-q"]}
_SIZE = 400 << 20
"""The smallest XFS has 300 MiB; the file is sparse."""


@contextmanager
def reflink_disk(kind: str, folder: Path) -> Iterator[Path]:
    """Mount a new ``xfs`` or ``btrfs``; the test is skipped, with the reason, where that is not possible."""
    make = _MAKE[kind]
    if os.geteuid() or not os.path.exists("/dev/loop-control"):
        pytest.skip("mounting needs root and loop devices")
    if shutil.which(make[0]) is None:
        pytest.skip(f"{make[0]} is not installed")
    image, disk = folder / f"{kind}.image", folder / kind
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(_SIZE)
    subprocess.run([*make, image], check=True, capture_output=True)
    done = subprocess.run(["mount", "-t", kind, "-o", "loop", image, disk], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the kernel does not mount {kind}: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)
