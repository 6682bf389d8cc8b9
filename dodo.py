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
from sifmake.pipeline.doit_tasks import DoitTasks

if TYPE_CHECKING:
    from collections.abc import Iterator

DOIT_CONFIG = {"default_tasks": ["pull_image"], "continue": True}

TASKS = DoitTasks(
    Project(
        Path(),
        Modes.find(locked=get_var("locked"), offline=get_var("offline")),
        Console(),
    ),
    sys.argv[1:],
)


def task_images() -> Iterator[dict[str, Any]]:
    """Build the images."""
    yield from TASKS.lock_tasks()
    for stage in STAGES:
        yield from TASKS.stage_tasks(stage)
    yield from TASKS.pull_image_tasks()


def task_outdated() -> dict[str, Any]:
    """Say what would run and why, without doing it."""
    return TASKS.outdated_task()


def task_lint() -> dict[str, Any]:
    """Check style, types and the direction of imports."""
    return {
        "actions": ["ruff check .", "ruff format --check .", "mypy", "lint-imports"],
        "uptodate": [False],
    }


def task_test() -> dict[str, Any]:
    """Run the tests."""
    return {
        "actions": ["%(python)s -m pytest -n 2 %(pytest)s"],
        "params": [
            {"name": "pytest", "long": "pytest", "default": ""},
            {"name": "python", "long": "python", "default": sys.executable},
        ],
        "uptodate": [False],
    }
