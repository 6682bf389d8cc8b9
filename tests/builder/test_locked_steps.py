"""What steps gave, compared with their lock: who runs, what is believed, and what a difference says."""

import re
import shutil

import pytest

from sifmake.cli.main import main
from sifmake.errors import LockError, StepsDifferError
from sifmake.limits import Limits
from sifmake.project.steps_lock import StepsLockUse, read_steps_lock
from support.building import Works, needs_scripts
from support.definition_golden import text_in

SAME = "%post\n    echo same > /same\n"
RANDOM = "%post\n    cat /proc/sys/kernel/random/uuid > /random; chmod 600 /etc/passwd\n"
TWO = f"{SAME}    A=1\n# sifmake: step\n    cat /proc/sys/kernel/random/uuid > /random\n"


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return Works(tmp_path_factory.mktemp("works"))


@pytest.fixture(autouse=True)
def _store(works, monkeypatch):
    machine(works, monkeypatch, "store")
    monkeypatch.chdir(works.folder)
    for path in ("store", "other", "tool.steps.yaml", "out.sif"):
        shutil.rmtree(works.folder / path, ignore_errors=True)
        (works.folder / path).unlink(missing_ok=True)


def machine(works, monkeypatch, name):
    """Go to a machine with another store."""
    monkeypatch.setenv("SIFMAKE_CACHE", str(works.folder / name))
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(works.folder))


def use(works, **how):
    return StepsLockUse(works.folder / "tool.steps.yaml", **how)


def layers(works):
    lock = read_steps_lock(works.folder / "tool.steps.yaml")
    return {step.title: step.layer for step in lock.steps}


@needs_scripts
def test_the_lock_is_written_where_there_is_none_and_stays(works):
    assert works.build_with_lock(TWO, use(works)) == (2, 0)
    first, last = read_steps_lock(works.folder / "tool.steps.yaml").steps
    assert (first.title, last.title) == ("echo same > /same", "cat /proc/sys/kernel/random/uuid > /random")
    assert first.snapshot
    assert not last.snapshot
    before = (works.folder / "tool.steps.yaml").read_bytes()
    assert works.build_with_lock(TWO, use(works)) == (0, 2)
    assert (works.folder / "tool.steps.yaml").read_bytes() == before
    assert works.build_with_lock(TWO, use(works, locked=True)) == (0, 2)
    assert not works.told.said


@needs_scripts
def test_a_step_without_layer_runs_again_and_is_compared(works, monkeypatch):
    works.build_with_lock(SAME, use(works))
    machine(works, monkeypatch, "other")
    assert works.build_with_lock(SAME, use(works, locked=True)) == (1, 0)
    assert not works.told.said


@needs_scripts
def test_a_difference_ends_a_locked_build_with_its_own_status_and_keeps_the_target(works, monkeypatch):
    works.build_with_lock(RANDOM, use(works))
    good = (works.folder / "out.sif").read_bytes()
    lock = (works.folder / "tool.steps.yaml").read_bytes()
    machine(works, monkeypatch, "other")
    with pytest.raises(
        StepsDifferError, match=r"list of the locked files is not in the store.*SIFMAKE_ACCEPT_STEPS=1"
    ) as raised:
        works.build_with_lock(RANDOM, use(works, locked=True))
    assert raised.value.exit_code == 4
    assert str(works.folder / "tool.steps.yaml") in str(raised.value)
    assert (works.folder / "out.sif").read_bytes() == good
    assert (works.folder / "tool.steps.yaml").read_bytes() == lock


@needs_scripts
@pytest.mark.parametrize("lost", ["packs", ""])
def test_a_difference_names_each_file_where_the_list_is_kept(works, monkeypatch, lost):
    works.build_with_lock(RANDOM, use(works))
    if lost:  # the small list outlives the layer
        shutil.rmtree(works.folder / "store/packs")
    with pytest.raises(StepsDifferError, match=r"1 file\(s\) that differ .*/random: content") as raised:
        works.build_with_lock(RANDOM, use(works, locked=True), use_cache=False)
    assert raised.value.changes == ("/random: content",)
    assert re.search("step `cat /proc.*`: /random: content", works.told.said[0])


@needs_scripts
def test_new_results_are_accepted_on_request_without_running_again(works, monkeypatch):
    works.build_with_lock(RANDOM, use(works))
    old = layers(works)
    machine(works, monkeypatch, "other")
    with pytest.raises(StepsDifferError):
        works.build_with_lock(RANDOM, use(works, locked=True))
    assert works.build_with_lock(RANDOM, use(works, locked=True, accept=True)) == (0, 1)
    assert layers(works) != old
    assert works.build_with_lock(RANDOM, use(works, locked=True)) == (0, 1)


@needs_scripts
def test_a_build_without_lock_mode_only_warns_of_a_difference(works, monkeypatch):
    works.build_with_lock(RANDOM, use(works))
    old = layers(works)
    assert works.build_with_lock(RANDOM, use(works), use_cache=False) == (1, 0)
    assert "SIFMAKE_UPDATE_STEPS=1" in works.told.said[-1]
    assert layers(works) == old
    assert works.build_with_lock(RANDOM, use(works, update=True), use_cache=False) == (1, 0)
    assert layers(works) != old


@needs_scripts
def test_the_layer_of_the_lock_is_taken_although_a_later_run_gave_another(works):
    works.build_with_lock(RANDOM, use(works))
    locked = text_in(works.folder / "out.sif", "/random")
    works.build_with_lock(RANDOM, use(works), use_cache=False)
    assert text_in(works.folder / "out.sif", "/random") != locked
    for how in (use(works, locked=True), use(works)):
        assert works.build_with_lock(RANDOM, how) == (0, 1)
        assert text_in(works.folder / "out.sif", "/random") == locked


@needs_scripts
def test_a_site_can_refuse_to_run_what_is_locked(works, monkeypatch):
    works.build_with_lock(TWO, use(works))
    assert works.build_with_lock(TWO, use(works, locked=True, refuse=True)) == (0, 2)
    machine(works, monkeypatch, "other")
    with pytest.raises(LockError, match=r"`echo same > /same` is not here.*steps: rerun"):
        works.build_with_lock(TWO, use(works, locked=True, refuse=True))
    assert works.build_with_lock(SAME, use(works, refuse=True)) == (1, 0)


@needs_scripts
def test_steps_with_other_inputs_are_not_compared_but_told_and_added_by_the_next_build(works):
    works.build_with_lock(SAME, use(works))
    before = layers(works)
    other = SAME.replace("echo", "printf")
    assert works.build_with_lock(other, use(works, locked=True)) == (1, 0)
    assert "1 of 1 step(s) are not in the lock of steps" in works.told.said[0]
    assert layers(works) == before
    with pytest.raises(LockError, match="steps: rerun"):
        works.build_with_lock(other.replace("same", "again"), use(works, locked=True, refuse=True))
    assert works.build_with_lock(other, use(works)) == (0, 1)
    assert list(layers(works)) == ["printf same > /same"]


@needs_scripts
def test_nothing_is_written_by_a_locked_build_without_a_lock(works):
    assert works.build_with_lock(SAME, use(works, locked=True)) == (1, 0)
    assert "were not compared" in works.told.said[0]
    assert not (works.folder / "tool.steps.yaml").exists()


@needs_scripts
def test_a_damaged_lock_is_an_error_unless_it_is_written_again(works):
    path = works.folder / "tool.steps.yaml"
    path.write_text("<<<<<<< HEAD\n")
    with pytest.raises(LockError, match=r"tool\.steps\.yaml"):
        works.build_with_lock(SAME, use(works))
    works.build_with_lock(SAME, use(works, update=True))
    assert layers(works)


@needs_scripts
def test_a_definition_without_steps_has_no_lock_of_them(works):
    works.build_with_lock(SAME, use(works))
    assert works.build_with_lock("%environment\n    A=1\n", use(works)) == (0, 0)
    assert not (works.folder / "tool.steps.yaml").exists()


@needs_scripts
def test_a_variable_that_differs_is_a_difference(works, monkeypatch):
    text = "%post\n    A=$(cat /proc/sys/kernel/random/uuid)\n# sifmake: step\n    true\n"
    works.build_with_lock(text, use(works))
    machine(works, monkeypatch, "other")
    with pytest.raises(StepsDifferError, match="other variables of its shell"):
        works.build_with_lock(text, use(works, locked=True))


@needs_scripts
def test_a_new_date_in_the_lock_runs_its_step_again_and_no_other(works):
    text = "%post\n    echo one > /one\n# sifmake: step\n# sifmake: expires 7d\n    echo two > /two\n"
    step = "    echo two > /two\n"
    assert works.build_with_lock(text, None) == (2, 0)
    assert works.build_with_lock(text, None, {step: "2026-11-30T00:00:00Z"}) == (1, 1)
    assert works.build_with_lock(text, None, {step: "2026-11-30T00:00:00Z"}) == (0, 2)
    assert works.build_with_lock(text, None, {step: "2026-12-07T00:00:00Z"}) == (1, 1)


@needs_scripts
def test_diff_names_the_files_that_two_builds_do_not_share(works, capsys):
    works.build_with_lock(RANDOM, use(works))
    shutil.copy(works.folder / "out.sif", works.folder / "former.sif")
    shutil.copy(works.folder / "tool.steps.yaml", works.folder / "former.steps.yaml")
    works.build_with_lock(RANDOM, use(works, update=True), use_cache=False)
    assert main(["diff", "former.sif", "out.sif"]) == 0
    assert capsys.readouterr().out.splitlines() == ["files changed: 1 (/ 1)", "    /random"]
    assert main(["diff", "former.steps.yaml", "tool.steps.yaml"]) == 0
    step = "step cat /proc/sys/kernel/random/uuid > /random; chmod 600 /etc/passwd: other layer"
    assert capsys.readouterr().out.splitlines() == [step, "    /random: content"]


@needs_scripts
def test_a_list_that_is_too_long_is_not_kept_and_not_named(works, monkeypatch):
    monkeypatch.setattr("sifmake.builder.steps_check.DEFAULT_LIMITS", Limits(config_bytes=100))
    works.build_with_lock(RANDOM, use(works))
    assert not read_steps_lock(works.folder / "tool.steps.yaml").steps[0].files
    assert works.build_with_lock(RANDOM, use(works, locked=True)) == (0, 1)
    with pytest.raises(StepsDifferError, match=r"1 file\(s\) that differ"):  # the locked layer itself has the list
        works.build_with_lock(RANDOM, use(works, locked=True), use_cache=False)
    shutil.rmtree(works.folder / "store/packs")
    with pytest.raises(StepsDifferError, match="list of the locked files is not in the store"):
        works.build_with_lock(RANDOM, use(works, locked=True), use_cache=False)
