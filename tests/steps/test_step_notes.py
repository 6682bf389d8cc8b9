"""Notes on steps: whose notes are trusted, and what does not count as a note."""

import os

import msgspec
import pytest

from sifmake.steps.step_notes import (
    StepNote,
    find_note,
    foreign_note,
    keep_foreign,
    keep_note,
    note_bytes,
    other_notes,
    signed_notes,
    title_of,
)
from sifmake.store import Store
from support.messages import Messages

KEY = "ab" * 32
NOTE = StepNote(KEY, f"sha256:{'1' * 64}", "root", "echo hello", b"A b\n", b"export X\n")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", progress=Messages())


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
    other = Store(tmp_path / "store", trusted_owners=[0], progress=Messages())
    assert find_note(other, KEY) is None
    keep_note(store, NOTE)


def test_a_note_under_another_name_is_not_a_note(store):
    keep_note(store, NOTE)
    other = f"ab{'c' * 62}"
    place(store).rename(place(store, other))
    assert find_note(store, other) is None
    assert "is damaged" in store.progress.warnings[-1]


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
def test_what_is_not_a_note_is_not_used(store, data):
    keep_note(store, NOTE)
    place(store).write_bytes(data)
    assert find_note(store, KEY) is None


OTHER = msgspec.structs.replace(NOTE, diff_id=f"sha256:{'2' * 64}")


def test_a_note_on_another_result_does_not_replace_the_first(store):
    keep_note(store, NOTE)
    keep_note(store, OTHER)
    assert find_note(store, KEY) == OTHER
    assert list(other_notes(store, KEY)) == [OTHER, NOTE]


def test_a_note_from_elsewhere_is_kept_but_not_believed(store):
    assert keep_foreign(store, KEY, note_bytes(NOTE))
    assert find_note(store, KEY) is None
    assert list(other_notes(store, KEY)) == [NOTE]
    assert [path.name for path in place(store).parent.iterdir()] == [f"{KEY}-{'1' * 32}"]


@pytest.mark.parametrize("keep", ["fetched", "imported", "earlier result"])
def test_a_note_that_needs_a_proof_is_not_believed_under_another_name(store, keep):
    """In a store that a group writes to, a member can rename it to the name of this user's own note."""
    if keep == "fetched":
        keep_foreign(store, KEY, note_bytes(NOTE))
    elif keep == "imported":
        name, data = foreign_note(KEY, note_bytes(NOTE))
        store.steps.keep(name, data)
    else:
        keep_note(store, NOTE)
        keep_note(store, OTHER)
    place(store).with_name(f"{KEY}-{'1' * 32}").rename(place(store))
    assert find_note(store, KEY) is None


def test_a_note_that_needs_a_proof_can_be_passed_on(store):
    name, data = foreign_note(KEY, note_bytes(NOTE))
    assert foreign_note(KEY, data) == (name, data)
    assert foreign_note(KEY, data, trusted=True) == (KEY, note_bytes(NOTE))


def test_a_signed_note_has_a_name_of_its_own(store):
    envelope = msgspec.json.encode({"payload": note_bytes(NOTE), "payloadType": "x", "signatures": []})
    assert keep_foreign(store, KEY, envelope)
    assert [path.name for path in place(store).parent.iterdir()] == [f"{KEY}-{'1' * 32}.signed"]
    assert list(other_notes(store, KEY)) == [NOTE]
    assert list(signed_notes(store, KEY)) == [envelope]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'{"payload": "AAAA"}',
        b'{"payload": "!"}',
        b'{"payload": 1}',
        b'{"payload": ' + b"[" * 100_000,
        note_bytes(NOTE) + b" " * (7 << 20),
        note_bytes(msgspec.structs.replace(NOTE, key="cd" * 32)),
        note_bytes(msgspec.structs.replace(NOTE, diff_id="sha256:../../x")),
    ],
)
def test_what_comes_from_elsewhere_has_to_be_a_note_of_that_step(store, data):
    assert not keep_foreign(store, KEY, data)
    assert not place(store).parent.exists()


def test_a_note_of_somebody_else_with_something_faked_proves_nothing(store):
    keep_foreign(store, KEY, note_bytes(msgspec.structs.replace(NOTE, faked=("/dev/x",))))
    assert list(other_notes(store, KEY)) == []


def test_a_crowd_of_notes_is_bounded(store):
    for number in range(40):
        keep_foreign(store, KEY, note_bytes(msgspec.structs.replace(NOTE, diff_id=f"sha256:{number:064}"[:71])))
        place(store).with_name(f"{KEY}-{number}").write_bytes(b"x")
    assert len(list(other_notes(store, KEY))) <= 16


def test_a_title_is_the_first_line_that_says_something():
    assert title_of("\n# comment\n   apt-get   update &&\\\n more\n") == "apt-get update &&\\"
    assert title_of("") == ""
    assert len(title_of("x" * 500)) == 100
