"""The tasks of a project for doit.

A ``dodo.py`` needs one line::

    from sifmake.doit import *

``doit list`` then shows the tasks, ``doit pull_image`` builds every image of ``config/images.yaml`` that is not up to
date, and ``doit pull_image:NAME`` builds one. A ``dodo.py`` may define further tasks of its own.

``python -m sifmake.doit ARGUMENT...`` runs doit without a ``dodo.py``.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit import get_var

from sifmake.cli.console import Console
from sifmake.drivers.doit_reporter import Reporter, tell_why
from sifmake.drivers.doit_tasks import DoitTasks
from sifmake.drivers.small_tasks import with_small_tasks
from sifmake.end_signals import leave_on_signals
from sifmake.project.project import Modes, Project
from sifmake.stages.stage import all_stages
from sifmake.withheld import Withheld

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DOIT_CONFIG", "task_images", "task_outdated"]

_EACH_IMAGE = "pull_image:*"


class _DefaultTasks(list[str]):
    """What runs if no task is named; not all commands of doit know patterns, so each gets names."""

    def __iter__(self) -> Iterator[str]:
        for task in super().__iter__():
            yield from _tasks().image_tasks() if task == _EACH_IMAGE else [task]


DOIT_CONFIG = {
    # One image after the other: doit would run the group stage by stage, and finish no image until nearly all are done.
    "default_tasks": _DefaultTasks([_EACH_IMAGE]),
    "continue": True,
    "reporter": Reporter,
    # Records decide what runs. A database on disk would add nothing, and a killed run could damage it.
    "backend": "sqlite3",
    "dep_file": ":memory:",
}


@cache
def _tasks() -> DoitTasks:
    """Return the project in the current folder; the modes come from doit's variables, which are set by now."""
    # Neither is left: a signal may come before doit reports anything, and after the last report. Tasks read the
    # passphrase from there, and no program that doit starts needs it.
    leave_on_signals(tell_why)
    Withheld().__enter__()
    modes = Modes.find(
        locked=get_var("locked"),
        offline=get_var("offline"),
        check=get_var("check"),
        trust_lock=get_var("trust_lock"),
        update_steps=get_var("update_steps"),
        accept_steps=get_var("accept_steps"),
        allow_host_sections=get_var("allow_host_sections"),
        allow_files=get_var("allow_files"),
    )
    return DoitTasks(Project(Path(), modes, Console()), sys.argv[1:])


@with_small_tasks
def task_images() -> Iterator[dict[str, Any]]:
    """Build the images."""
    yield from _tasks().lock_tasks()
    for stage in all_stages():
        yield from _tasks().stage_tasks(stage)
    yield from _tasks().pull_image_tasks()


def task_outdated() -> dict[str, Any]:
    """Show what would run and why, without running it."""
    return _tasks().outdated_task()


if __name__ == "__main__":
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain

    sys.exit(DoitMain(ModuleTaskLoader(sys.modules[__name__])).run(sys.argv[1:]))
