"""The kernel reports an error of write-back once, to the first sync, so no result of a sync may be ignored."""

import errno
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from sifmake.errors import describe_os_error
from support.faults import MIB, pull_image, sync_often, write_image
from support.messages import Messages

FAIL = [errno.ENOSPC, errno.EIO, errno.EDQUOT]


class Disk:
    """Stands for ``os.fdatasync`` and ``os.fsync`` of one file: the ``nth`` call fails, later ones do not.

    Attributes:
        reached: Calls for that file so far.
    """

    def __init__(self, monkeypatch, wanted, code, nth=0):
        self.reached = 0
        self._wanted, self._code, self._nth = wanted, code, nth
        for name in ("fdatasync", "fsync"):
            monkeypatch.setattr(os, name, self._failing(getattr(os, name)))

    def _failing(self, real):
        def call(fd):
            if self._wanted in os.readlink(f"/proc/self/fd/{fd}"):
                self.reached += 1
                if self.reached == self._nth + 1:
                    raise OSError(self._code, os.strerror(self._code))
            real(fd)

        return call


@pytest.fixture
def uri(tmp_path):
    return write_image(tmp_path / "image")


@pytest.mark.parametrize("code", FAIL)
@pytest.mark.parametrize("nth", range(4))
def test_an_error_of_any_sync_of_the_target_ends_it(tmp_path, monkeypatch, uri, code, nth):
    sync_often(monkeypatch)
    target = tmp_path / "images" / "a.sif"
    target.parent.mkdir()
    target.write_bytes(b"old")
    disk = Disk(monkeypatch, "/images/.tmp-a.sif", code, nth)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        pull_image(uri, target, tmp_path / "store")
    assert disk.reached > nth
    assert target.read_bytes() == b"old"
    assert describe_os_error(caught.value).startswith(f"{target}: {os.strerror(code)} (the image file)")
    assert os.listdir(target.parent) == ["a.sif"]


@pytest.mark.parametrize("nth", range(3))
def test_an_error_of_any_sync_of_a_pack_ends_it(tmp_path, monkeypatch, uri, nth):
    sync_often(monkeypatch)
    disk = Disk(monkeypatch, "/store/packs/", errno.EIO, nth)
    with pytest.raises(OSError, match="Input/output error") as caught:
        pull_image(uri, tmp_path / "a.sif", tmp_path / "store")
    assert disk.reached > nth
    assert describe_os_error(caught.value).startswith(f"{tmp_path}/store/packs/")
    assert " (the store); " in describe_os_error(caught.value)
    assert not (tmp_path / "a.sif").exists()


@pytest.mark.parametrize("nth", range(2))
def test_a_patch_that_the_disk_did_not_take_is_not_copied_from(tmp_path, monkeypatch, uri, nth):
    monkeypatch.setattr("sifmake.assembly.patches.LEAST", 1)
    good = pull_image(uri, tmp_path / "good.sif", tmp_path / "other")
    listener = Messages()
    disk = Disk(monkeypatch, "/store/patches/", errno.ENOSPC, nth)
    assert pull_image(uri, tmp_path / "a.sif", tmp_path / "store", listener) == good
    assert disk.reached > nth
    assert any("cannot keep a patch" in text for text in listener.warnings)


def test_an_error_of_the_sync_of_what_is_copied_from_ends_the_target(tmp_path, monkeypatch, uri):
    (tmp_path / "images").mkdir()
    disk = Disk(monkeypatch, "/images/#", errno.EIO)
    with pytest.raises(OSError, match="Input/output error") as caught:
        pull_image(uri, tmp_path / "images" / "a.sif", tmp_path / "store")
    assert describe_os_error(caught.value).startswith(f"{tmp_path}/images/a.sif: Input/output error (the image file)")
    assert disk.reached == 1
    assert os.listdir(tmp_path / "images") == []


def test_a_folder_that_cannot_be_synced_is_said_and_what_is_in_it_is_whole(tmp_path, monkeypatch, uri):
    target = tmp_path / "images" / "a.sif"
    good = pull_image(uri, target, tmp_path / "store")
    target.unlink()
    real = os.fsync

    def fail(fd):
        if os.readlink(f"/proc/self/fd/{fd}") == str(target.parent):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="in place, but its folder cannot be synced") as caught:
        pull_image(uri, target, tmp_path / "store")
    assert describe_os_error(caught.value).startswith(f"{target.parent}: ")
    assert target.read_bytes() == good


@contextmanager
def leaking_disk(folder: Path, size: int, real: int):
    """Mount an ext4 that promises more than is there: what is written to it is lost on its way to the disk."""
    small, disk = folder / "small", folder / "disk"
    small.mkdir()
    disk.mkdir()
    mounted = []
    try:
        for command in (
            ["mount", "-t", "tmpfs", "-o", f"size={real}", "none", str(small)],
            ["truncate", "-s", str(size), str(small / "image")],
            ["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1", str(small / "image")],
            ["mount", "-o", "loop", str(small / "image"), str(disk)],
        ):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                pytest.skip(f"{command[0]} is not possible here: {result.stderr.strip()}")
            if command[0] == "mount":
                mounted.append(command[-1])
        yield disk
    finally:
        for path in reversed(mounted):
            subprocess.run(["umount", "-l", path], check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.kernel
def test_a_real_error_of_write_back_is_not_lost(tmp_path, monkeypatch):
    """The disk is full although the file system has room: write says yes, and one sync says no."""
    sync_often(monkeypatch, MIB)
    uri = write_image(tmp_path / "image", 24 * MIB)
    good = pull_image(uri, tmp_path / "good.sif", tmp_path / "store")
    with leaking_disk(tmp_path, 256 * MIB, 8 * MIB) as disk:
        target = disk / "a.sif"
        with pytest.raises(OSError) as caught:  # ENOSPC or EIO, as the kernel has it
            pull_image(uri, target, tmp_path / "store")
        assert caught.value.errno in FAIL
        assert not target.exists()
    assert pull_image(uri, tmp_path / "again.sif", tmp_path / "store") == good
