"""Locks of what steps gave: the same bytes for the same results, and nothing hostile is taken for one."""

import os
from dataclasses import replace

import pytest
import yaml

from sifmake.errors import LockError
from sifmake.limits import Limits
from sifmake.project.lock_text import checksum
from sifmake.project.project import Modes, Project
from sifmake.project.steps_lock import (
    LockedStep,
    StepsLock,
    StepsLockUse,
    format_steps_lock,
    read_steps_lock,
    write_steps_lock,
)

KEY = "3f" * 32
LAYER = f"sha256:{'1' * 64}"
FIRST = LockedStep(KEY, "apt-get update, then: more # of it", LAYER, "root", f"sha256:{'2' * 64}")
LAST = LockedStep("ab" * 32, "", LAYER, "single", "", f"sha256:{'3' * 64}", f"sha256:{'4' * 64}", ended=True)
LOCK = StepsLock((FIRST, LAST))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tool.steps.yaml"


def edited(path, **changes):
    """Write a lock with other values, and with the right checksum."""
    document = yaml.safe_load(format_steps_lock(LOCK))
    document.pop("checksum")
    for name, value in changes.items():
        if name in ("format", "steps"):
            document[name] = value
        else:
            document["steps"][KEY][name] = value
    path.write_text(yaml.safe_dump({**document, "checksum": checksum(document)}))


def test_a_lock_comes_back_in_its_order(path):
    assert read_steps_lock(path) is None
    assert write_steps_lock(path, LOCK)
    assert not write_steps_lock(path, LOCK)
    assert read_steps_lock(path) == LOCK
    assert read_steps_lock(path).find(LAST.key) == LAST
    assert read_steps_lock(path).find("cd" * 32) is None


@pytest.mark.parametrize("form", [str, lambda text: text.replace("\U0001f389", "\\ud83c\\udf89")])
def test_a_title_of_any_characters_comes_back(path, form):
    lock = StepsLock((replace(FIRST, title="echo \U0001f389 \x7f\x85\u2028\ufeff\ufffe \\ud83c\\udf89"),))
    path.write_text(form(format_steps_lock(lock).decode()))  # versions before 0.3 wrote two escapes
    assert read_steps_lock(path) == lock
    yaml.safe_load(format_steps_lock(lock))


def test_a_lock_reads_well_in_a_diff(path):
    write_steps_lock(path, StepsLock((FIRST,)))
    assert path.read_text().splitlines()[1:-1] == [
        "format: 1",
        "steps:",
        f'  "{KEY}":',
        '    run: "apt-get update, then: more # of it"',
        f"    layer: {LAYER}",
        f"    files: sha256:{'2' * 64}",
        "    mode: root",
    ]


def test_another_layout_of_the_yaml_is_the_same_lock(path):
    edited(path)
    assert read_steps_lock(path).find(KEY) == FIRST


def test_an_edited_lock_is_refused(path):
    path.write_bytes(format_steps_lock(LOCK).replace(b"1" * 64, b"9" * 64))
    with pytest.raises(LockError, match=r"was edited.*SIFMAKE_UPDATE_STEPS=1"):
        read_steps_lock(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "has the format 2, this version of sifmake reads 1"),
        ({"steps": ["a"]}, "not a lock of steps"),
        ({"steps": {KEY: "x"}}, "not a lock of steps"),
        ({"steps": {"../x": {}}}, "not the key of a step"),
        ({"layer": "sha256:../../etc"}, "not a digest"),
        ({"layer": 7}, "not a digest"),
        ({"files": f"sha512:{'0' * 128}"}, "not a digest"),
        ({"snapshot": ["x"]}, "not a digest"),
        ({"mode": "setuid"}, "not a mode"),
        ({"mode": ["root"]}, "not a lock of steps"),
        ({"run": 5}, "not text"),
        ({"ended": True}, "neither 0 nor 1"),
        ({"ended": "yes"}, "neither 0 nor 1"),
        ({"ended": 7}, "neither 0 nor 1"),
        ({"owner": "x"}, "unknown key 'owner'"),
    ],
)
def test_a_file_that_is_not_a_lock_is_named(path, changes, said):
    edited(path, **changes)
    with pytest.raises(LockError, match=said) as raised:
        read_steps_lock(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("missing", ["format", "steps", "checksum"])
def test_a_lock_without_a_part_is_refused(path, missing):
    document = yaml.safe_load(format_steps_lock(LOCK))
    del document[missing]
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(LockError, match=f"'{missing}' is missing"):
        read_steps_lock(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"steps: *x",
        b"<<<<<<< HEAD\nsteps: {}\n=======\n",
        b"\xff\xfe",
        b"a: " + b"[" * 100_000,
        b"a: &a [x]\nb: [" + b"*a," * 20_000 + b"]",
        b"x: " + b"1" * 100_000,
        b"# " + b"x" * 3_000_000,
    ],
)
def test_hostile_bytes_are_one_error(path, data):
    path.write_bytes(data)
    with pytest.raises(LockError) as raised:
        read_steps_lock(path)
    assert "\n" not in str(raised.value)


def test_a_limit_is_named_as_one(path):
    write_steps_lock(path, LOCK)
    with pytest.raises(LockError, match=r"limit yaml-bytes.*sifmake\.yaml"):
        read_steps_lock(path, Limits(yaml_bytes=100))


def test_a_pipe_is_not_read(path):
    os.mkfifo(path)
    with pytest.raises(LockError):
        read_steps_lock(path)


def test_a_project_says_how_its_locks_of_steps_are_used(tmp_path):
    (tmp_path / "sifmake.yaml").write_text("steps: refuse\n")
    use = Project(tmp_path, Modes.find({"CI": "true", "SIFMAKE_ACCEPT_STEPS": "1"})).steps_lock("tool_3.12")
    assert use == StepsLockUse(tmp_path / "config/locks/tool_3.12.steps.yaml", locked=True, refuse=True, accept=True)
    assert (use.rewrites, use.is_bound) == (True, False)


@pytest.mark.parametrize(
    ("how", "rewrites", "bound"),
    [
        ({}, False, False),
        ({"update": True}, True, False),
        ({"locked": True}, False, True),
        ({"locked": True, "update": True}, False, True),
        ({"locked": True, "accept": True}, True, False),
        ({"accept": True}, True, False),
    ],
)
def test_only_accepting_changes_the_lock_of_a_locked_build(path, how, rewrites, bound):
    use = StepsLockUse(path, **how)
    assert (use.rewrites, use.is_bound) == (rewrites, bound)
