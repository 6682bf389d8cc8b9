"""Older SIF files that may save a transfer: a damaged one is not used and causes no error."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from sifmake.builder.older_sifs import older_file, older_of_key, older_of_name
from sifmake.errors import StoreError
from sifmake.oci import parse_platform
from sifmake.reference import parse_uri

URI, AMD64 = parse_uri("oras://registry.example/tool:1"), parse_platform("amd64")


def test_a_regular_file_is_opened_for_reading_and_all_else_is_none(tmp_path):
    path = tmp_path / "x.sif"
    assert older_file(path)() is None
    path.write_bytes(b"x")
    fd = older_file(path)()
    assert fd is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fd, b"y")
    os.close(fd)
    os.mkfifo(tmp_path / "fifo")
    open_files = len(os.listdir("/proc/self/fd"))
    for other in (tmp_path, tmp_path / "fifo"):
        assert older_file(other)() is None
    assert len(os.listdir("/proc/self/fd")) == open_files


class Broken:
    """The SIF files of a store that cannot be read."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def find_name(self, _: str) -> str:
        raise self._error

    def __getattr__(self, _: str):
        return self.find_name


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), StoreError("the store is damaged")])
def test_a_store_that_cannot_be_read_has_none(error):
    assert older_of_key(SimpleNamespace(sifs=Broken(error)), "key")() is None
    assert older_of_name(SimpleNamespace(sifs=Broken(error)), URI, AMD64)() is None
    assert older_of_key(SimpleNamespace(sifs=Broken(error)), "")() is None
