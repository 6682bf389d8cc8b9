"""Notes on steps that come from elsewhere: carried by an archive, and believed only with a proof."""

import base64
import json
import os

import pytest

from sifmake.api.cache import Cache
from sifmake.errors import StepsDifferError
from sifmake.project.configuration import Configuration
from sifmake.project.steps_lock import StepsLockUse
from support.building import Works, needs_scripts
from support.signing import pem_pair

RANDOM = "%post\n    cat /proc/sys/kernel/random/uuid > /random\n"


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return Works(tmp_path_factory.mktemp("works"))


@pytest.fixture
def machine(works, tmp_path, monkeypatch):
    """Return a function that goes to a machine with a store of its own."""
    monkeypatch.chdir(works.folder)
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(works.folder))

    def go(name):
        monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / name))

    go("first")
    return go


def use(tmp_path, **how):
    return StepsLockUse(tmp_path / "tool.steps.yaml", **how)


def carried(tmp_path, machine, **options):
    """Carry the store of the first machine to the second."""
    Cache().export_archive(tmp_path / "a.tar", force=True)
    machine("second")
    return Cache().import_archive(tmp_path / "a.tar", **options)


@needs_scripts
def test_a_note_that_an_archive_brought_is_believed_for_the_lock_of_steps(works, tmp_path, machine):
    works.build_with_lock(RANDOM, use(tmp_path))
    assert carried(tmp_path, machine).steps == 1
    assert works.build_with_lock(RANDOM, None) == (1, 0)
    machine("third")
    Cache().import_archive(tmp_path / "a.tar")
    assert works.build_with_lock(RANDOM, use(tmp_path, locked=True, refuse=True)) == (0, 1)
    assert [file.title for file in Cache().files() if file.kind == "step"] == [
        "cat /proc/sys/kernel/random/uuid > /random"
    ]


@needs_scripts
def test_a_note_that_an_archive_brought_is_believed_for_the_users_word(works, tmp_path, machine):
    works.build_with_lock(RANDOM, None)
    assert carried(tmp_path, machine, trust_steps=True).steps == 1
    assert works.build_with_lock(RANDOM, None) == (0, 1)


@needs_scripts
def test_a_forged_note_is_not_believed_although_the_lock_names_its_key(works, tmp_path, machine):
    works.build_with_lock(RANDOM, use(tmp_path))
    machine("evil")
    works.build_with_lock(RANDOM, None)
    assert carried(tmp_path, machine).steps == 1
    with pytest.raises(StepsDifferError):
        works.build_with_lock(RANDOM, use(tmp_path, locked=True))


@needs_scripts
def test_a_signed_note_is_believed_by_those_who_trust_the_key(works, tmp_path, machine):
    keys = pem_pair(tmp_path)
    signing = Configuration(key=str(keys.secret), trusted_keys=(keys.public,))
    works.build_with_lock(RANDOM, None, configuration=signing)
    assert carried(tmp_path, machine).steps == 2
    trusting = Configuration(trusted_keys=(keys.public,))
    assert works.build_with_lock(RANDOM, None, configuration=trusting) == (0, 1)
    assert works.build_with_lock(RANDOM, None, configuration=Configuration()) == (1, 0)


@needs_scripts
def test_a_changed_note_has_lost_its_signature(works, tmp_path, machine):
    keys = pem_pair(tmp_path)
    works.build_with_lock(RANDOM, None, configuration=Configuration(key=str(keys.secret), trusted_keys=(keys.public,)))
    (signed,) = (tmp_path / "first").rglob("*.signed")
    trusting = Configuration(trusted_keys=(keys.public,))

    def build():
        for note in signed.parent.iterdir():
            if note != signed:
                note.unlink()
        return works.build_with_lock(RANDOM, None, configuration=trusting)

    assert build() == (0, 1)
    document = json.loads(signed.read_bytes())
    note = base64.b64decode(document["payload"]).replace(b"random/uuid", b"random/UUID")
    signed.write_text(json.dumps({**document, "payload": base64.b64encode(note).decode()}))
    assert build() == (1, 0)


@needs_scripts
def test_a_note_with_the_locked_layer_and_other_labels_is_not_believed(works, tmp_path, machine):
    text = '%post\n    echo "Of lock" >> "$APPTAINER_LABELS"\n'
    works.build_with_lock(text, use(tmp_path))
    (note,) = (path for path in (tmp_path / "first/steps").rglob("*") if path.is_file())
    forged = json.loads(note.read_bytes())
    note.write_text(json.dumps({**forged, "labels": base64.b64encode(b"Of attacker\n").decode()}))
    carried(tmp_path, machine)
    assert works.build_with_lock(text, use(tmp_path, locked=True)) == (1, 0)


@needs_scripts
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_a_stranger_left_in_the_store_counts_for_the_lock_and_a_proof(works, tmp_path, machine):
    works.build_with_lock(RANDOM, use(tmp_path))
    for path in (*(tmp_path / "first/steps").rglob("*"), *(tmp_path / "first/packs").rglob("*")):
        if path.is_file():
            os.chown(path, 4243, 4243)
    assert works.build_with_lock(RANDOM, use(tmp_path, locked=True)) == (0, 1)
    assert works.build_with_lock(RANDOM, None) == (1, 0)


@needs_scripts
def test_all_notes_are_listed_by_title_checked_and_collected(works, tmp_path, machine):
    keys = pem_pair(tmp_path)
    signing = Configuration(key=str(keys.secret), trusted_keys=(keys.public,))
    works.build_with_lock(RANDOM, None, configuration=signing)
    works.build_with_lock(RANDOM, None, use_cache=False)
    notes = [file for file in Cache().files() if file.kind == "step"]
    assert len(notes) == 3, "the last, the former, and its signature"
    assert {note.title for note in notes} == {"cat /proc/sys/kernel/random/uuid > /random"}
    assert Cache().verify()
    signed = next(note.path for note in notes if note.name.endswith(".signed"))
    signed.write_bytes(signed.read_bytes()[:-9])
    assert Cache().verify().damaged == 1
    for path in (tmp_path / "first").rglob("*"):
        os.utime(path, (1, 1))
    assert {"step", "pack", "blob"} <= {file.kind for file in Cache().collect(max_age="1d").removed}
    assert not [file for file in Cache().files() if file.kind == "step"]
