"""Tasks for doit: the images of this project, and the chores of its development.

``doit list`` shows them; ``doit pull_image`` builds every image of ``config/images.yaml`` that is not up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit import get_var

from sifmake.cli.console import Console
from sifmake.pipeline import STAGES, Modes, Project
from sifmake.pipeline.doit_reporter import Reporter
from sifmake.pipeline.doit_tasks import DoitTasks
from sifmake.withheld import Withheld

if TYPE_CHECKING:
    from collections.abc import Iterator

DOIT_CONFIG = {
    "default_tasks": ["pull_image"],
    "continue": True,
    "reporter": Reporter,
    # Records decide what runs. A database on disk would add nothing but a way to be damaged by a killed run.
    "backend": "sqlite3",
    "dep_file": ":memory:",
}

Withheld().__enter__()  # for good: a task asks for the passphrase, and no program that doit starts needs it
MODES = Modes.find(
    locked=get_var("locked"),
    offline=get_var("offline"),
    check=get_var("check"),
    trust_lock=get_var("trust_lock"),
)
TASKS = DoitTasks(Project(Path(), MODES, Console()), sys.argv[1:])


def task_images() -> Iterator[dict[str, Any]]:
    """Build the images."""
    yield from TASKS.lock_tasks()
    for stage in STAGES:
        yield from TASKS.stage_tasks(stage)
    yield from TASKS.pull_image_tasks()


def task_outdated() -> dict[str, Any]:
    """Say what would run and why, without doing it."""
    return TASKS.outdated_task()


def chore(*commands: str) -> dict[str, Any]:
    """Return a task of development that runs Python modules of this environment, every time."""
    actions = [[sys.executable, "-m", *command.split()] for command in commands]
    return {"actions": actions, "uptodate": [False], "verbosity": 2}


def task_lint() -> dict[str, Any]:
    """Check style, types and the direction of imports."""
    imports = [[str(Path(sys.executable).with_name("lint-imports"))]]
    checks = chore("ruff check .", "ruff format --check .", "mypy")
    return checks | {"actions": checks["actions"] + imports}


def task_test() -> dict[str, Any]:
    """Run the tests."""
    return chore("pytest -n 2")


def task_bench() -> dict[str, Any]:
    """Measure speed, memory and sizes against the floor and the usual tools, and print the table."""
    return chore("benchmarks")


def task_docs() -> dict[str, Any]:
    """Check that every relative link in the documents leads somewhere."""
    return chore("pytest -q tests/workflow/test_documents.py")
