"""Digests of big files are computed once, and again after any change."""

from __future__ import annotations

import os
import shutil

import pytest

import sifmake
from sifmake.builder import known_digests, local_trees
from sifmake.builder.known_digests import known_digest
from sifmake.stages import definition_inputs
from sifmake.steps.layer_maker import LayerMaker
from sifmake.store import Store
from support.definition_projects import Definitions
from support.hello import HELLO

DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def settled(monkeypatch):
    """Let every file count as one that was changed long ago."""
    monkeypatch.setattr(known_digests, "_SETTLED", float("-inf"))


class Computing:
    """Counts how often the digest of a file is computed."""

    def __init__(self, folder):
        self.path = folder / "big"
        self.path.write_text("x" * 10)
        self.count = 0
        self._store = Store.open(folder / "store")

    def known(self, what="file"):
        fd = os.open(self.path, os.O_RDONLY)
        try:
            assert known_digest(self._store, fd, what, self._compute) == DIGEST
        finally:
            os.close(fd)
        return self.count

    def _compute(self):
        self.count += 1
        return DIGEST


@pytest.fixture
def computing(tmp_path):
    return Computing(tmp_path)


def rewritten(path):
    before = path.stat()
    path.write_text("y" * 10)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path):
    shutil.copy2(path, copy := path.with_name("copy"))
    copy.rename(path)


def touched(path):
    os.utime(path)


@pytest.mark.parametrize("change", [rewritten, replaced, touched])
def test_a_file_is_known_until_it_is_changed(computing, settled, change):
    assert [computing.known(), computing.known()] == [1, 1]
    assert computing.known("another digest") == 2
    change(computing.path)
    assert [computing.known(), computing.known()] == [3, 3]


def test_what_was_changed_just_now_or_meanwhile_is_not_noted(computing, monkeypatch):
    monkeypatch.setattr(known_digests, "_SETTLED", float("inf"))
    assert [computing.known(), computing.known()] == [1, 2]
    monkeypatch.setattr(known_digests, "_SETTLED", float("-inf"))
    compute = computing._compute

    def changed_meanwhile():
        touched(computing.path)
        return compute()

    computing._compute = changed_meanwhile
    assert [computing.known(), computing.known()] == [3, 4]


def test_another_definition_on_the_same_sif_file_does_not_read_it(tmp_path, settled, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    made = Definitions(tmp_path / "p")
    sifmake.pull(HELLO, made.root / "base.sif")
    made.define("tool", "%labels\n    a b", "Bootstrap: localimage\nFrom: base.sif", sign=False)
    assert made.lock() == {"tool": "there was no lock"}
    made.build("tool")

    def read(*_):
        raise AssertionError

    monkeypatch.setattr(local_trees, "_digest", read)
    monkeypatch.setattr(definition_inputs, "sha256_of_open", read)
    monkeypatch.setattr(LayerMaker, "make_of", read)
    made.define("tool", "%labels\n    a c", "Bootstrap: localimage\nFrom: base.sif", sign=False)
    assert made.lock() == {"tool": "the definition changed"}
    assert "sif" in made.build("tool")
    assert sifmake.inspect(made.root / "images/tool.sif").labels["a"] == "c"
    rewritten(made.root / "base.sif")
    with pytest.raises(AssertionError):
        made.lock()
