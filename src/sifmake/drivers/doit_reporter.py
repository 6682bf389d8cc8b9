"""The output of ``doit``: a line for each task that runs or fails, nothing for tasks that wait for a failed one."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

from doit.exceptions import TaskFailed, UnmetDependency
from doit.reporter import ConsoleReporter

from sifmake.errors import one_line

if TYPE_CHECKING:
    from doit.exceptions import BaseFail
    from doit.task import Task


_GROUP = "pull_image"
_LAST = ("publish", _GROUP)
"""Tasks that are up to date if the finished file is."""


class Reporter(ConsoleReporter):  # type: ignore[misc] # doit has no types
    """doit's console reporter without up-to-date stages of images, and with failures that say what to do."""

    desc = "one line for each task that runs and for each failure"

    def initialize(self, tasks: dict[str, Task], selected_tasks: list[str]) -> None:
        """Put the tasks of a group of images in front of it, in the list by which doit is about to run.

        doit begins all tasks of a group at once and goes through them stage by stage: the temporary files of all images
        would be there before the first one is finished. It does one task after another that is selected.
        """
        super().initialize(tasks, selected_tasks)
        self._current: set[str] = set()
        for at in reversed([at for at, name in enumerate(selected_tasks) if name == _GROUP]):
            selected_tasks[at:at] = [name for name in tasks[_GROUP].task_dep if name.startswith(f"{_GROUP}:")]

    def skip_uptodate(self, task: Task) -> None:
        """Report finished files that are up to date, once, but not the stages before."""
        basename, _, name = task.name.partition(":")
        if basename in _LAST and name and name not in self._current:
            self._current.add(name)
            self.write(f"-- {_GROUP}:{name}\n")

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Report why a task failed; tasks that wait for it are not reported."""
        if isinstance(fail, UnmetDependency):
            return
        if isinstance(fail, TaskFailed):
            if fail.message.startswith("Command failed"):
                return  # the program has reported the error, and its message should be the last line
            self.write(f"!! {task.name.lstrip('_')}: {one_line(fail.message)}\n")
            return
        super().add_failure(task, fail)


def tell_why(text: str) -> None:
    """Print why the run ends, once, because with ``-n`` other processes get the signal, too."""
    if multiprocessing.parent_process() is None:
        os.write(2, f"sifmake: error: {text}\n".encode())
