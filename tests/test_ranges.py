"""Ranges of files: short calls, and a kernel that refuses to copy."""

import errno
import os

import pytest

from sifmake.ranges import copy_some, read_at, write_at
from support.faults import pull_image, write_image

REFUSALS = [errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EIO, errno.EBADF, errno.ETXTBSY, errno.EPERM, errno.EACCES]


@pytest.fixture
def pair(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)) * 1000)
    source, target = os.open(tmp_path / "a", os.O_RDONLY), os.open(tmp_path / "b", os.O_RDWR | os.O_CREAT)
    yield source, target
    os.close(source)
    os.close(target)


def shorten(monkeypatch, name, at=2):
    """Have a call of ``os`` do half of what it is asked for."""
    real = getattr(os, name)

    def short(fd, what, *rest):
        if isinstance(what, int):
            return real(fd, max(1, what // at), *rest)
        view = memoryview(what)
        return real(fd, view[: max(1, len(view) // at)], *rest)

    monkeypatch.setattr(os, name, short)


def test_short_reads_and_writes_do_all(pair, monkeypatch):
    source, target = pair
    shorten(monkeypatch, "pread")
    shorten(monkeypatch, "pwrite")
    data = read_at(source, 256_000, 0)
    assert data == bytes(range(256)) * 1000
    assert read_at(source, 100, 255_990) == data[-10:]
    write_at(target, data, 5)
    assert read_at(target, 300_000, 5) == data


def refuse(monkeypatch, code):
    calls = []

    def copy(*_arguments):
        calls.append(code)
        if code:
            raise OSError(code, os.strerror(code))
        return 0

    monkeypatch.setattr(os, "copy_file_range", copy)
    return calls


@pytest.mark.parametrize("code", [0, *REFUSALS])
def test_where_the_kernel_does_not_copy_bytes_are_read_and_written(pair, monkeypatch, code):
    source, target = pair
    calls = refuse(monkeypatch, code)
    assert copy_some(source, 0, target, 0, 256_000) == 256_000
    assert os.pread(target, 256_000, 0) == os.pread(source, 256_000, 0)
    assert copy_some(source, 256_000, target, 256_000, 10) == 0
    assert len(calls) == 2


def test_an_error_that_is_real_comes_again(pair, monkeypatch):
    source, target = pair
    refuse(monkeypatch, errno.EIO)

    def fail(*_arguments):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="full"):
        copy_some(source, 0, target, 0, 10)


@pytest.mark.parametrize("code", [0, errno.EIO, errno.ETXTBSY])
def test_a_pull_gives_the_same_bytes_where_the_kernel_does_not_copy(tmp_path, monkeypatch, code):
    uri = write_image(tmp_path / "image")
    good = pull_image(uri, tmp_path / "good.sif", tmp_path / "one")
    calls = refuse(monkeypatch, code)
    for name in ("pread", "pwrite"):
        shorten(monkeypatch, name)
    assert pull_image(uri, tmp_path / "a.sif", tmp_path / "two") == good
    assert calls
