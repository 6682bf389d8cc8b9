"""Unpacked trees that somebody or something changed: never the ground of a layer."""

from __future__ import annotations

import os

import pytest

from sifmake.errors import StoreError
from sifmake.rootless.tree_check import TreeCheck
from support.building import Works, needs_scripts
from support.definition_golden import text_in

STEPS = "%files\n    note /opt/note\n%post\n    echo one > /one\n# sifmake: step\n    cat /opt/note /one > /{}\n"


@pytest.fixture
def works(tmp_path, monkeypatch):
    """A folder in which a definition was built, so that its trees are unpacked."""
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made = Works(tmp_path)
    (tmp_path / "note").write_text("note\n")
    made.build(STEPS.format("two"))
    return made


def base_of(works):
    """Return the unpacked tree with the copied file."""
    (note,) = works.folder.glob("sifmake-*/trees/*/tree/opt/note")
    return note.parents[1]


def overwritten(tree):
    """Other bytes of the same size, and the time of before."""
    path = tree / "opt/note"
    times = path.stat()
    path.write_text("evil\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def with_another_mode(tree):
    (tree / "bin/busybox").chmod(0o700)


def cleaned_up(tree):
    (tree / "etc/passwd").unlink()


def added_to(tree):
    (tree / "etc/more").symlink_to("x")


def without_what_was_noted(tree):
    (tree.parent / "facts").unlink()


def unchanged(tree):
    assert (tree / "etc").is_dir()


@needs_scripts
@pytest.mark.parametrize(
    "change", [overwritten, with_another_mode, cleaned_up, added_to, without_what_was_noted, unchanged]
)
def test_a_step_runs_again_on_a_new_tree(works, change):
    tree = base_of(works)
    change(tree)
    works.build(STEPS.format("three"), progress=works.told)
    assert text_in(works.folder / "out.sif", "/three") == "note\none\n"
    said = [line for line in works.told.said if "was changed after it was made, so the script runs again" in line]
    assert [line.partition(":")[0] for line in said] == ([] if change is unchanged else [str(tree.parent)])
    works.build(STEPS.format("four"), progress=works.told)
    assert len(said) == sum("runs again" in line for line in works.told.said), "once"


@needs_scripts
def test_a_tree_that_does_not_stay_as_it_is_gives_no_layer(works, monkeypatch):
    before = sorted(works.folder.glob("store/steps/*/*"))
    monkeypatch.setattr(TreeCheck, "changed", lambda self: list(self._places))
    with pytest.raises(StoreError, match="is changed again and again"):
        works.build(STEPS.format("five"))
    assert sorted(works.folder.glob("store/steps/*/*")) == before
