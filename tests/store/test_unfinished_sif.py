"""A SIF file of the store between its last byte and its name."""

from __future__ import annotations

import hashlib
import os

import pytest

from sifmake.store import Store

KEY = "ab" * 32 + "-gzip-1-2-3"
DATA = b"SIF" * 1000
NAME = f"{KEY}.{hashlib.sha256(DATA).hexdigest()}.sif"


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


def names(store):
    return sorted(path.name for path in (store.root / "sif" / "ab").iterdir())


def written(unfinished):
    """Write to the file, and return what a program can run from."""
    unfinished.target.file.write(DATA)
    return unfinished.found(hashlib.sha256(DATA).hexdigest())


def test_it_can_be_read_before_it_has_its_name(store):
    with store.sifs.begin(KEY) as unfinished:
        found = written(unfinished)
        assert os.pread(found.fd, len(DATA) + 1, 0) == DATA
        assert found.path.name == NAME
        assert not found.path.exists()
        assert store.sifs.open(KEY) is None
        unfinished.finish(hashlib.sha256(DATA).hexdigest())
        assert os.path.samestat(os.fstat(found.fd), found.path.stat())
    found.close()
    assert names(store) == [NAME]


def test_an_older_file_with_its_key_is_removed(store):
    for data in (b"old", DATA):
        with store.sifs.begin(KEY) as unfinished:
            unfinished.target.file.write(data)
            unfinished.target.file.flush()
            unfinished.finish(hashlib.sha256(data).hexdigest())
    assert names(store) == [NAME]


def test_nothing_is_left_of_a_file_that_was_not_finished(store):
    with store.sifs.begin(KEY) as unfinished:
        written(unfinished).close()
    assert names(store) == []


def test_a_file_that_another_process_finishes_stays(store):
    with store.sifs.begin(KEY) as unfinished:
        written(unfinished).close()
        unfinished.left = True
    [name] = names(store)
    assert name.startswith(".tmp-")


@pytest.mark.parametrize("call", ["fsync", "replace", "fchmod"])
def test_if_it_cannot_be_finished_it_is_removed_and_the_error_names_its_key(store, monkeypatch, call):
    def fail(*_given, **_named):
        raise OSError(28, "No space left on device", "what nobody knows" if call == "replace" else None)

    with store.sifs.begin(KEY) as unfinished:
        written(unfinished).close()
        monkeypatch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left on device") as raised:
            unfinished.finish("0" * 64)
        monkeypatch.undo()
        assert names(store) == []
    assert raised.value.filename == str(store.root / "sif" / "ab" / f"{KEY}.sif")
