"""Notes on steps: who is believed, and what is not taken for one."""

import os
from dataclasses import dataclass, field

import msgspec
import pytest

from sifmake.progress import Silent
from sifmake.steps.step_notes import StepNote, find_note, keep_note, title_of
from sifmake.store import Store

KEY = "ab" * 32
NOTE = StepNote(KEY, f"sha256:{'1' * 64}", "root", "echo hello", b"A b\n", b"export X\n")


@dataclass
class Told(Silent):
    said: list[str] = field(default_factory=list)

    def warning(self, message):
        self.said.append(message)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", progress=Told())


def place(store, key=KEY):
    return store.root / "steps" / key[:2] / key


def test_a_note_comes_back(store):
    assert find_note(store, KEY) is None
    keep_note(store, NOTE)
    assert find_note(store, KEY) == NOTE


def test_a_note_of_a_stranger_is_not_believed(store, monkeypatch):
    keep_note(store, NOTE)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    os.chown(place(store), 4243, 4243)
    assert find_note(store, KEY) is None


def test_a_note_of_a_step_with_something_faked_is_its_users_alone(store, tmp_path, monkeypatch):
    keep_note(store, msgspec.structs.replace(NOTE, faked=("/dev/x",)))
    assert find_note(store, KEY) is not None
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    other = Store(tmp_path / "store", trusted_owners=[0], progress=Told())
    assert find_note(other, KEY) is None
    keep_note(store, NOTE)


def test_a_note_under_another_name_is_no_note(store):
    keep_note(store, NOTE)
    other = f"ab{'c' * 62}"
    place(store).rename(place(store, other))
    assert find_note(store, other) is None
    assert "is damaged" in store.progress.said[-1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        b'{"key":"' + KEY.encode() + b'","diff_id":"x","mode":"root","title":""}',
        b"x" * (5 << 20),
    ],
)
def test_what_is_no_note_is_not_used(store, data):
    keep_note(store, NOTE)
    place(store).write_bytes(data)
    assert find_note(store, KEY) is None


def test_a_title_is_the_first_line_that_says_something():
    assert title_of("\n# comment\n   apt-get   update &&\\\n more\n") == "apt-get update &&\\"
    assert title_of("") == ""
    assert len(title_of("x" * 500)) == 100
