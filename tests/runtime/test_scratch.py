"""Temporary folders of runs: swept when nobody has locked them, also between making and locking."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from sifmake.runtime import scratch
from sifmake.runtime.scratch import Scratch


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(tmp_path))


@pytest.mark.parametrize("when", ["mkdir", "open"])
def test_one_that_others_sweep_before_it_is_locked_is_made_again(tmp_path, monkeypatch, when):
    real = getattr(os, when)

    def function(path, *arguments, **options):
        result = real(path, *arguments, **options)
        if str(path).startswith(str(tmp_path)):
            monkeypatch.setattr(os, when, real)
            scratch._sweep(str(tmp_path))
        return result

    monkeypatch.setattr(os, when, function)
    made = Scratch()
    scratch._sweep(str(tmp_path))
    assert os.listdir(tmp_path) == [os.path.basename(made.path)]
    made.remove()
    assert os.listdir(tmp_path) == []


def test_where_locks_mean_nothing_no_folder_is_swept(tmp_path, monkeypatch):
    made = Scratch()
    os.close(made.fd)
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    scratch._sweep(str(tmp_path))
    assert os.path.exists(made.path)


def test_where_there_are_no_locks_it_works_all_the_same(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    Scratch().remove()
    assert os.listdir(tmp_path) == []
