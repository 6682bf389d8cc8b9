"""Images that are built, in both engines: requests, edges, equal files, and projects with a prefix."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sifmake.drivers.doit_tasks import DoitTasks
from sifmake.project.lock_file import read_lock, write_lock
from sifmake.project.locks import BuildLock
from sifmake.project.project import Project
from sifmake.project.stage_table import STAGE_NAMES
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from sifmake.stages.stage import find_stage
from support.building import needs_scripts
from support.corpus import CORPUS
from support.layers import file, tar

if TYPE_CHECKING:
    from pathlib import Path

    from support.counting_registry import CountingRegistry
    from support.project import Folder

BASE = CORPUS / "definition/base"


@pytest.fixture
def tools(project: Folder, registry: CountingRegistry) -> Folder:
    """An image from a registry's base and copied files, and one that is built from it."""
    registry.tags["base:1"] = registry.blobs.image([tar(file("base", b"1"))])
    del project.config["key"]
    project.images |= {"top": {"from": "./top.def"}, "tool": {"from": "./tool.def"}}
    project.write()
    (project.root / "src").write_text("one\n")
    (project.root / "tool.def").write_text(f"Bootstrap: docker\nFrom: {registry.host}/base:1\n\n%files\n    src /src\n")
    (project.root / "top.def").write_text("Bootstrap: localimage\nFrom: images/tool.sif\n\n%labels\n    a b\n")
    return project


def test_a_build_without_news_asks_one_question_for_each_base(tools: Folder, registry: CountingRegistry) -> None:
    tools.doit()
    registry.forget()
    before = tools.files()
    said = tools.doit()
    assert registry.counts() == {"HEAD manifest": 1}
    assert tools.files() == before
    assert "." not in [line.split()[0] for line in said.splitlines() if line]
    registry.down = True
    tools.doit("locked=1")
    assert tools.files() == before


def test_a_new_base_is_noticed_as_for_any_image(tools: Folder, registry: CountingRegistry) -> None:
    tools.doit()
    first = tools.target("top").read_bytes()
    registry.tags["base:1"] = registry.blobs.image([tar(file("base", b"2"))])
    text = tools.run("sifmake", "lock", "--check", status=3)
    assert "tool.yaml: tool.def: sha256:" in text
    assert "the base docker://" in text
    tools.doit()
    assert tools.target("top").read_bytes() != first


def test_both_engines_make_the_same_files_and_trust_each_other(tools: Folder, tmp_path: Path) -> None:
    tools.snakemake()
    names = ("tool", "top")
    made = {name: tools.target(name).read_bytes() for name in names}
    before = tools.files()
    assert "Nothing to be done" in tools.snakemake()
    tools.doit("locked=1")
    assert tools.files() == before
    shutil.rmtree(tools.root / "images")
    shutil.rmtree(tools.root / "results")
    shutil.rmtree(tmp_path / "home/store")
    tools.doit("locked=1")
    assert {name: tools.target(name).read_bytes() for name in names} == made


def test_a_changed_file_is_refused_when_the_workflow_is_read(tools: Folder) -> None:
    tools.run("sifmake", "lock")
    (tools.root / "src").write_text("two\n")
    for arguments in ((), ("--config", "locked=1")):
        text = tools.snakemake("-n", *arguments, status=1)
        assert "config/locks/tool.yaml: the lock is out of date: the files src changed; run `sifmake lock tool`" in text
    said = tools.doit("locked=1", status=1)
    assert "!! lock:tool: config/locks/tool.yaml: the lock is out of date: the files src changed" in said


def test_sections_of_the_host_run_at_every_build(tools: Folder) -> None:
    with (tools.root / "tool.def").open("a") as file:
        file.write("\n%pre\n    true\n")
    tools.snakemake("--config", "allow_host_sections=1")
    text = tools.snakemake("-n", "--config", "allow_host_sections=1")
    assert "output: results/tool/steps.json" in text
    assert "reason: Params have changed since last execution" in text
    assert text.count("reason: Params") == 1


def test_the_base_of_an_image_is_an_edge_in_both_graphs(tools: Folder) -> None:
    tasks = DoitTasks(Project(tools.root), [])
    steps = {task["name"]: task.get("task_dep") for task in tasks.stage_tasks(find_stage("steps"))}
    assert steps["top"] == ["pull:top", "publish:tool"]
    assert steps["tool"] == ["pull:tool"]
    locks = {(task["basename"], task["name"]): task.get("task_dep") for task in tasks.lock_tasks()}
    assert (locks["lock", "top"], locks["_lock", "top"]) == (["lock:tool"], ["_lock:tool"])
    text = tools.snakemake("-n", "--quiet", "host")
    assert "input: config/locks/tool.yaml\n    output: config/locks/top.yaml" in text
    tools.run("sifmake", "lock")
    text = tools.snakemake("-n", "results/top/steps.json", "--quiet", "host")
    assert "images/tool.sif, results/tool/publish.json" in text.partition("results/top/pull.json")[2]


def test_one_image_is_built_with_those_that_it_needs(tools: Folder) -> None:
    said = tools.doit("pull_image:top")
    ran = [line.split()[1] for line in said.splitlines() if line.startswith(".")]
    stages = [name for name in ran if "lock" not in name]
    assert [name for name in stages if name.endswith(":tool")] == [f"{stage}:tool" for stage in STAGE_NAMES]
    assert stages.index("publish:tool") < stages.index("steps:top")


def test_a_project_in_a_pipeline_builds_from_its_own_images(tools: Folder, tmp_path: Path) -> None:
    from sifmake.snakemake import SNAKEFILE

    module = f'module inner:\n    snakefile: "{SNAKEFILE}"\n    config: {{"root": "inner"}}\n    prefix: "inner"\n\n'
    outer = tmp_path / "outer"
    shutil.copytree(tools.root, outer / "inner")
    (outer / "Snakefile").write_text(
        f'rule all:\n    input:\n        "inner/images/top.sif",\n\n\n{module}use rule * from inner as inner_*\n'
    )
    tools.root = outer
    tools.run("sifmake", "lock", "--root", "inner")
    text = tools.run("snakemake", "-c1", "-n", "inner/results/top/steps.json", "--quiet", "host")
    assert "inner/images/tool.sif, inner/results/tool/publish.json" in text.partition("inner/results/top/pull.json")[2]
    tools.run("snakemake", "-c2", "inner/results/tool/steps.json")


def test_a_scheduled_rebuild_builds_bases_first(tools: Folder) -> None:
    text = tools.run("sifmake", "rebuild", "--jobs", "2")
    assert "top: rebuilt" in text
    assert "tool: rebuilt" in text
    log = (tools.root / "results/digests.jsonl").read_text()
    assert log.count('"name": "t') == 2
    text = tools.run("sifmake", "rebuild")
    assert text.count("unchanged") >= 2


def test_only_the_command_line_allows_other_folders(tools: Folder, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    (tools.root / "tool.def").write_text(f"Bootstrap: scratch\n\n%files\n    {tmp_path}/outside /x\n")
    assert "outside the folders" in tools.run("sifmake", "lock", "tool", status=1)
    tools.run("sifmake", "lock", "--allow-files", str(tmp_path), "tool")
    (tools.root / "config.yaml").write_text(f"allow_files: {tmp_path}\n")
    assert "outside the folders" in tools.snakemake("--configfile", "config.yaml", status=1)
    profile = tools.root / "profiles/default/config.yaml"  # snakemake reads it unasked
    profile.parent.mkdir(parents=True)
    profile.write_text(f"config:\n  - allow_files={tmp_path}\n")
    assert "outside the folders" in tools.snakemake(status=1)
    tools.snakemake("images/tool.sif", "--config", f"allow_files={tmp_path}")
    assert "outside the folders" in tools.doit("pull_image:tool", status=1)
    tools.doit(f"allow_files={tmp_path}", "pull_image:tool")


def test_a_digest_that_a_bot_writes_into_a_lock_is_locked(tools: Folder, registry: CountingRegistry) -> None:
    old = registry.tags["base:1"]["digest"]
    tools.run("sifmake", "lock")
    registry.tags["base:1"] = registry.blobs.image([tar(file("base", b"2"))])
    wanted = registry.blobs.image([tar(file("base", b"3"))])["digest"]
    path = tools.root / "config/locks/tool.yaml"
    path.write_text(path.read_text().replace(f"@{old}", f"@{wanted}"))
    assert "was edited" in tools.doit("locked=1", "lock:tool", status=1)
    tools.run("sifmake", "lock", "tool")
    assert f'@{wanted}", from: ' in path.read_text()
    assert f"manifest: {wanted}" in path.read_text()
    path.write_text(path.read_text().replace(f"@{wanted}", f"@sha256:{'7' * 64}"))
    assert "no such image" in tools.run("sifmake", "lock", "tool", status=1)


def test_locks_of_builds_are_compared_by_their_inputs(tools: Folder, tmp_path: Path) -> None:
    tools.run("sifmake", "lock")
    path = tools.root / "config/locks/tool.yaml"
    shutil.copy(path, tmp_path / "old.yaml")
    (tools.root / "src").write_text("two\n")
    tools.run("sifmake", "lock")
    text = tools.run("sifmake", "diff", str(tmp_path / "old.yaml"), str(path), status=None)
    assert "files src" in text
    assert "definition" not in text


def test_a_base_that_is_only_published_again_runs_nothing_in_the_other_engine(tools: Folder) -> None:
    tools.doit()
    for path in (tools.target("tool"), tools.root / "results/tool/publish.json"):
        os.utime(path)
    tools.doit()
    assert "Nothing to be done" in tools.snakemake()


def test_a_missing_definition_is_one_line_in_doit(tools: Folder) -> None:
    tools.run("sifmake", "lock")
    (tools.root / "tool.def").unlink()
    (tools.root / "tool.def").symlink_to("/etc/hostname")
    text = tools.doit(status=1)
    assert "!! lock:tool: " in text
    assert "is outside the project's folder" in text
    assert "Traceback" not in text


@needs_scripts
def test_a_step_that_expires_is_a_matter_of_locks_in_both_engines(project: Folder) -> None:
    del project.config["key"]
    project.config["store"] = {"path": str(project.root / "store")}
    project.images = {"tool": {"from": "./tool.def"}}
    project.write()
    shutil.copytree(BASE, project.root / "base", copy_function=shutil.copyfile)
    text = "Bootstrap: oci\nFrom: base\n\n%post\n# sifmake: expires 7d\n    cat /proc/sys/kernel/random/uuid > /made\n"
    (project.root / "tool.def").write_text(text)
    path = project.root / "config/locks/tool.yaml"
    assert LockRefresher(Project(project.root)).refresh("tool").error is None
    lock = read_lock(path)
    assert isinstance(lock, BuildLock)
    old = lock.inputs._replace(renewed=dict.fromkeys(lock.inputs.renewed, "2026-01-01T00:00:00Z"))
    write_lock(path, replace(lock, inputs=old, digest=old.digest))
    build(project)
    made = project.target("tool").read_bytes()
    assert "Nothing to be done" in project.snakemake("-n"), "no build reads a clock"
    assert ".  steps:tool" in project.doit(), "doit refreshes locks"
    assert read_lock(path).document()["renewed"] != old.renewed
    assert project.target("tool").read_bytes() != made


def build(project: Folder) -> None:
    """Run all stages in this process."""
    with open_runner(Project(project.root)) as runner:
        for stage in STAGE_NAMES:
            runner.run(stage, "tool")
