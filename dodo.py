"""Tasks for doit: the images of this project, and the chores of its development.

``doit list`` shows them; ``doit pull_image`` builds every image of ``config/images.yaml`` that is not up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sifmake.doit import DOIT_CONFIG, task_images, task_outdated

__all__ = ["DOIT_CONFIG", "task_bench", "task_docs", "task_images", "task_lint", "task_outdated", "task_test"]


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
    """Run the tests, three at a time: a third of their time they wait for servers, signals and syncs."""
    return chore("pytest -n 3")


def task_bench() -> dict[str, Any]:
    """Measure speed, memory and sizes against the floor and the usual tools, and print the table."""
    return chore("benchmarks")


def task_docs() -> dict[str, Any]:
    """Check the generated reference and build the documentation site in site/; a broken link is an error."""
    build = ["env", "NO_MKDOCS_2_WARNING=1", sys.executable, "-m", "mkdocs", "build", "--strict"]
    return chore() | {"actions": [[sys.executable, "docs/generate.py", "--check"], build]}
