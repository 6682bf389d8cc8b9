"""doit's tasks and Snakemake's rules are what the declaration of the stages says, and equal to each other."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

import pytest

from sifmake.drivers.doit_tasks import DoitTasks
from sifmake.project.project import Project
from sifmake.project.stage_table import LOCK
from sifmake.stages.stage import all_stages
from support.project import REPOSITORY

STAGES = all_stages()

if TYPE_CHECKING:
    from pathlib import Path

    from support.project import Folder


def declared_edges() -> set[tuple[str, str]]:
    """Pairs of stages of which the second reads what the first writes."""
    return {
        (first.name, second.name) for first in STAGES for second in STAGES if set(first.outputs) & set(second.inputs)
    }


@pytest.fixture
def app(project: Folder) -> Folder:
    project.images["app"] = {"from": "docker://localhost/app:1"}
    project.write()
    (project.root / "config/locks").mkdir()
    return project


def snakemake_jobs(project: Folder, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return rule name to inputs and outputs of a dry run."""
    text = project.run("snakemake", "-n", "-F", "--quiet", "host", *arguments)
    jobs = {}
    for block in re.split(r"\n(?= *(?:local)?rule )", text)[1:]:
        name = re.match(r" *(?:local)?rule (\w+):", block)[1]
        jobs[name] = {
            kind: set(found[1].split(", ")) if (found := re.search(rf"\n +{kind}: (.*)", block)) else set()
            for kind in ("input", "output")
        }
    return jobs


def concrete(patterns: tuple[str, ...]) -> set[str]:
    return {pattern.format(image="app") for pattern in patterns}


def locked(project: Folder) -> Folder:
    """Give the project a lock without asking anyone."""
    from sifmake.project.lock_file import write_lock
    from sifmake.project.locks import Lock

    opened = Project(project.root)
    settings = opened.image("app")
    digest = "sha256:" + "a" * 64
    build = opened.wanted_build(settings)
    lock = Lock(settings.source, "localhost/app:1", digest, settings.platform, digest, digest, (), build=build)
    write_lock(opened.lock_path("app"), lock)
    return project


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_snakemake_runs_the_declared_stages(app: Folder, snakefile: str) -> None:
    jobs = snakemake_jobs(locked(app), "-s", str(REPOSITORY / snakefile))
    goal = jobs.pop("all", None) or jobs.pop("images")
    assert goal["input"] == {"images/app.sif", "results/app/verify.json"}
    assert set(jobs) == {stage.name for stage in STAGES}
    for stage in STAGES:
        assert jobs[stage.name] == {"input": concrete(stage.inputs), "output": concrete(stage.outputs)}, stage.name


def test_snakemake_locks_only_what_has_no_lock(app: Folder) -> None:
    snakefile = str(REPOSITORY / "workflow/Snakefile")
    jobs = snakemake_jobs(app, "-s", snakefile)
    assert jobs["lock"] == {"input": set(), "output": concrete((LOCK,))}
    assert "lock" not in snakemake_jobs(locked(app), "-s", snakefile)


def test_rules_keep_temporary_what_the_declaration_calls_so() -> None:
    text = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    wrapped = {name.replace("{image}", "app") for name in re.findall(r'temp\("([^"]+)"\)', text)}
    assert wrapped == {pattern.format(image="app") for stage in STAGES if stage.temporary for pattern in stage.big}


def test_doit_runs_the_declared_stages(app: Folder) -> None:
    tasks = DoitTasks(Project(locked(app).root), [])
    made = {task["basename"]: task for stage in STAGES for task in tasks.stage_tasks(stage) if task["name"]}
    assert list(made) == [stage.name for stage in STAGES]
    before = {name: [dependency.partition(":")[0] for dependency in task["task_dep"]] for name, task in made.items()}
    assert before.pop("pull") == ["_lock"]
    assert {(first, name) for name, firsts in before.items() for first in firsts} <= declared_edges()
    order = list(made)
    assert [before[name] for name in order[1:]] == [[name] for name in order[:-1]]
    assert all(order.index(first) < order.index(second) for first, second in declared_edges())
    for stage in STAGES:
        lasting = concrete(stage.outputs[-1:] if stage.temporary else stage.outputs)
        assert {str(target) for target in made[stage.name]["targets"]} == {str(app.root / path) for path in lasting}


def test_every_stage_reads_the_lock() -> None:
    assert all(LOCK in stage.inputs for stage in STAGES)


def test_the_dodo_file_has_all_tasks(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.chdir(repository)
    spec = importlib.util.spec_from_file_location("dodo", repository / "dodo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = {name.removeprefix("task_") for name in vars(module) if name.startswith("task_")}
    names |= {task["basename"] for task in module.task_images()}
    assert names >= {"pull_image", "lock", "outdated", "lint", "test", "bench", "docs", *(s.name for s in STAGES)}
