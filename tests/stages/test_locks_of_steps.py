"""Images of a project whose steps have a lock: what locked runs compare, and what a difference makes again."""

import json
import shutil

import pytest

import sifmake
from sifmake.api.cache import Cache
from sifmake.cli.main import main
from sifmake.errors import LockError, StepsDifferError, UsageError
from support.building import needs_scripts
from support.definition_projects import Definitions

RANDOM = "%post\n    cat /proc/sys/kernel/random/uuid > /random"
AFTER = ["steps", "flatten", "sif", "sign", "verify", "publish"]


@pytest.fixture
def project(tmp_path):
    made = Definitions(tmp_path / "p").with_busybox()
    made.define("tool", RANDOM, sign=False)
    made.lock()
    made.build()
    return made


def lock_path(project):
    return project.root / "config/locks/tool.steps.yaml"


def go_elsewhere(project):
    """Go to a machine that has the project's files alone."""
    shutil.rmtree(project.root.parent / "store")
    shutil.rmtree(project.root / "results")


@needs_scripts
def test_a_build_writes_the_lock_and_a_locked_one_agrees(project):
    written = lock_path(project).read_bytes()
    assert project.build("tool", locked=True) == []
    assert project.build("tool") == []
    assert lock_path(project).read_bytes() == written
    assert "steps.yaml" not in project.lock_text("tool")


@needs_scripts
def test_a_machine_without_the_layer_finds_the_difference_and_keeps_the_image(project):
    old, written = project.sif("tool"), lock_path(project).read_bytes()
    go_elsewhere(project)
    with pytest.raises(StepsDifferError, match=r"^tool: .*tool\.steps\.yaml: ") as raised:
        project.build("tool", locked=True)
    assert raised.value.exit_code == 4
    assert (project.sif("tool"), lock_path(project).read_bytes()) == (old, written)
    assert project.build("tool", stages=("steps",), locked=True, accept_steps=True) == ["steps"]
    assert not project.scripts
    assert lock_path(project).read_bytes() != written
    assert project.build("tool", locked=True) == AFTER[1:]
    assert project.sif("tool") != old


@needs_scripts
def test_a_site_refuses_before_a_step_runs(project):
    go_elsewhere(project)
    settings = project.root / "sifmake.yaml"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "steps": "refuse"}))
    with pytest.raises(LockError, match="steps: rerun"):
        project.build("tool", locked=True)
    assert not project.scripts


@needs_scripts
def test_a_locked_run_notices_what_an_unlocked_one_only_warned_of(project):
    written = lock_path(project).read_bytes()
    go_elsewhere(project)
    assert project.build("tool") == ["pull", *AFTER]
    assert lock_path(project).read_bytes() == written
    assert project.build("tool") == []
    with pytest.raises(StepsDifferError):
        project.build("tool", locked=True)
    assert project.build("tool", update_steps=True) == AFTER, "the locked run gave a third result"
    assert lock_path(project).read_bytes() != written
    assert project.build("tool", locked=True) == []


@needs_scripts
def test_a_lock_that_is_gone_is_written_again_without_running_a_step(project):
    written = lock_path(project).read_bytes()
    lock_path(project).unlink()
    assert project.build("tool", locked=True) == []
    assert project.build("tool") == ["steps"]
    assert not project.scripts
    assert lock_path(project).read_bytes() == written


@needs_scripts
def test_a_bot_may_change_the_inputs_without_the_lock_of_steps(project):
    """A locked run builds what a bot proposed, with a warning, and the next usual one completes the lock."""
    written = lock_path(project).read_bytes()
    project.define("tool", "%post\n    echo new > /new", sign=False)
    project.lock()
    assert "steps" in project.build("tool", locked=True)
    assert "1 of 1 step(s) are not in the lock of steps" in "\n".join(project.told.lines)
    assert lock_path(project).read_bytes() == written
    assert project.build("tool", locked=True) == []
    assert project.build("tool") == ["steps"]
    assert b"echo new" in lock_path(project).read_bytes()
    assert project.build("tool") == project.build("tool", locked=True) == []


@needs_scripts
@pytest.mark.parametrize("record", ["present", "lost"])
def test_the_layer_that_a_lock_names_makes_the_image_again(project, tmp_path, record):
    """A colleague's lock and store come: the image has to be made of that layer, although no input changed.

    Snakemake removes the record if a locked run finds a difference, because it is the output of a failed job.
    """
    old, written = project.sif("tool"), lock_path(project).read_bytes()
    shutil.copytree(tmp_path / "store", tmp_path / "colleague")
    go_elsewhere(project)
    project.build("tool", update_steps=True)
    assert project.sif("tool") != old
    lock_path(project).write_bytes(written)
    shutil.rmtree(tmp_path / "store")
    shutil.copytree(tmp_path / "colleague", tmp_path / "store")
    if record == "lost":
        (project.root / "results/tool/steps.json").unlink()
    assert project.build("tool", locked=True) == AFTER
    assert project.sif("tool") == old


@needs_scripts
def test_an_image_on_another_follows_what_its_steps_gave(project):
    """The inputs of both are as they were, so no key tells that the base is another file now."""
    project.define("top", "%labels\n    c d", "Bootstrap: localimage\nFrom: images/tool.sif", sign=False)
    project.define("above", "%labels\n    e f", "Bootstrap: localimage\nFrom: images/top.sif", sign=False)
    project.lock()
    project.build()
    old = {name: project.sif(name) for name in ("tool", "top", "above")}
    shutil.rmtree(project.root.parent / "store")
    (project.root / "results/tool/steps.json").unlink()
    project.build("tool", update_steps=True)
    for name in ("top", "above"):
        assert project.build(name) == AFTER
        assert project.build(name) == []
    assert all(project.sif(name) != sif for name, sif in old.items())


@needs_scripts
def test_a_definition_without_a_step_is_never_outdated_for_lack_of_a_lock(tmp_path):
    project = Definitions(tmp_path / "p").with_busybox()
    project.define("plain", "%labels\n    a b", sign=False)
    project.lock()
    project.build()
    assert project.build("plain") == project.build("plain", update_steps=True) == []
    assert not (project.root / "config/locks/plain.steps.yaml").exists()


@needs_scripts
def test_an_export_of_the_image_carries_what_its_steps_gave(project, tmp_path):
    """The other machine has the project's folder and the archive, and runs no step."""
    project.define("top", "%labels\n    c d", "Bootstrap: localimage\nFrom: images/tool.sif", sign=False)
    project.define("other", "%post\n    echo other > /other", sign=False)
    project.lock()
    project.build()
    old = project.sif("tool")
    Cache(project.root).export_archive(tmp_path / "a.tar", "top")
    go_elsewhere(project)
    done = Cache(project.root).import_archive(tmp_path / "a.tar")
    assert done.steps == 1
    with pytest.raises(UsageError, match="not a digest"):
        Cache(project.root).export_archive(tmp_path / "b.tar", "none")
    shutil.rmtree(project.root / "base")
    project.build("tool", locked=True, offline=True)
    assert not project.scripts
    assert project.sif("tool") == old


@needs_scripts
def test_the_command_ends_with_a_status_of_its_own_and_accepts(project, capsys):
    go_elsewhere(project)
    written, stage = lock_path(project).read_bytes(), ["stage", "--root", str(project.root)]
    assert main([*stage, "pull", "tool"]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIFMAKE_LOCKED", "1")
        assert main([*stage, "steps", "tool"]) == 4
        assert capsys.readouterr().err.splitlines()[-1].startswith("sifmake: error: tool: ")
        assert main([*stage, "--update-steps", "steps", "tool"]) == 4
        assert lock_path(project).read_bytes() == written
        assert main([*stage, "--accept-steps", "steps", "tool"]) == 0
    assert lock_path(project).read_bytes() != written


@needs_scripts
def test_a_program_can_do_the_same(project):
    go_elsewhere(project)
    assert sifmake.run_stage("pull", "tool", root=project.root)
    with pytest.raises(StepsDifferError) as raised:
        sifmake.run_stage("steps", "tool", root=project.root, locked=True)
    assert raised.value.changes == ()
    assert sifmake.run_stage("steps", "tool", root=project.root, locked=True, accept_steps=True)
    assert not sifmake.run_stage("steps", "tool", root=project.root, locked=True)


@needs_scripts
def test_a_rebuild_from_the_locks_names_the_difference_and_accepts(project, capsys):
    go_elsewhere(project)
    command = ["rebuild", "--no-lock", "--jobs", "1", "--root", str(project.root)]
    assert main(command) == 1
    assert "tool: failed at steps: " in capsys.readouterr().err
    assert main([*command, "--accept-steps"]) == 0
    assert main(command) == 0
