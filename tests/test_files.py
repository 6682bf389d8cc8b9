"""Files that appear complete or not at all, whatever happens and whenever."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from sifmake.files import atomic_write, fsync_folder, write_atomic


@pytest.mark.parametrize("opened", [False, True], ids=["by path", "in an open folder"])
def test_an_interrupt_while_the_file_is_made_leaves_none(tmp_path, monkeypatch, opened):
    """The file is there, and the call that made it has not returned."""
    (tmp_path / "x").write_bytes(b"old")
    folder = os.open(tmp_path, os.O_PATH)
    make = os.open

    def make_and_interrupt(name, flags, mode=0o777, *, dir_fd=None):
        fd = make(name, flags, mode, dir_fd=dir_fd)
        if flags & os.O_CREAT:
            os.close(fd)
            os.kill(os.getpid(), signal.SIGINT)
        return fd

    monkeypatch.setattr(os, "open", make_and_interrupt)
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "x", at=folder if opened else None) as file:
        file.write(b"new")
    os.close(folder)
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_folder_that_takes_no_file_is_named(tmp_path):
    with pytest.raises(OSError, match="File name too long") as caught:
        write_atomic(tmp_path / ("x" * 300), b"")
    assert caught.value.filename == str(tmp_path / ("x" * 300))


def test_a_folder_that_cannot_be_opened_for_its_sync_is_named(tmp_path, monkeypatch):
    """An open by a descriptor is told the path ``.``, which nobody knows."""

    def fail(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO), ".")

    monkeypatch.setattr("os.open", fail)
    with pytest.raises(OSError, match="Input/output error") as caught:
        fsync_folder(tmp_path, 5)
    assert caught.value.filename == str(tmp_path)
