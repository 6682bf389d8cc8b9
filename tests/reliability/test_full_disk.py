"""Real file systems that get full: a right file or an error, the old file whole, and nothing left behind."""

import os
import random
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from sifmake.errors import SifmakeError, describe_os_error
from support.faults import MIB, pull_image, sync_often, write_image

SYSTEMS = {
    "tmpfs": [["mount", "-t", "tmpfs", "-o", "size=24m", "none", "{disk}"]],
    "ext4": [
        ["truncate", "-s", "48M", "{image}"],
        ["mkfs.ext4", "-q", "-F", "{image}"],
        ["mount", "-o", "loop", "{image}", "{disk}"],
    ],
    "xfs": [
        ["truncate", "-s", "320M", "{image}"],
        ["mkfs.xfs", "-q", "-f", "{image}"],
        ["mount", "-o", "loop", "{image}", "{disk}"],
    ],
}
pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root"), pytest.mark.kernel]


@contextmanager
def mounted(name: str, folder: Path):
    """Mount a small file system; skip where that is not possible."""
    disk, image = folder / "disk", folder / "image.raw"
    disk.mkdir()
    try:
        for words in SYSTEMS[name]:
            command = [word.format(disk=disk, image=image) for word in words]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                pytest.skip(f"{command[0]} is not possible here: {result.stderr.strip()}")
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False, capture_output=True)


def leave_free(disk: Path, size: int) -> None:
    """Fill a file system until that many bytes are free."""
    fill = disk / "fill"
    free = os.statvfs(disk)
    with fill.open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - size))


@pytest.mark.parametrize("what", ["the target's", "the store's"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_full_file_system(tmp_path, monkeypatch, system, what):
    sync_often(monkeypatch, MIB)
    uri = write_image(tmp_path / "image", 6 * MIB)
    good = pull_image(uri, tmp_path / "good.sif", tmp_path / "full")
    failed = 0
    dice = random.Random(1)
    with mounted(system, tmp_path) as disk:
        for _ in range(8):
            target = (disk if what == "the target's" else tmp_path) / "a.sif"
            store = tmp_path / "full" if what == "the target's" else disk / "store"
            target.write_bytes(b"old")
            leave_free(disk, dice.randrange(2 * len(good)))
            try:
                pull_image(uri, target, store)
            except (OSError, SifmakeError) as error:
                failed += 1
                text = describe_os_error(error) if isinstance(error, OSError) else str(error)
                assert str(disk) in text, "the error names the place that is full"
                assert "No space left on device" in text
                assert target.read_bytes() == b"old"
            else:
                assert target.read_bytes() == good
            assert [path.name for path in (*target.parent.glob(".tmp-*"), *store.rglob(".tmp-*"))] == []
            for path in (disk / "fill", target, *(path for path in disk.rglob("*") if path.is_file())):
                path.unlink(missing_ok=True)
    assert 0 < failed < 8
