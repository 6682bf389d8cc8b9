"""Tasks for doit, made from the table of stages."""

from __future__ import annotations

import multiprocessing
import re
import shutil
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from doit.exceptions import InvalidDodoFile, TaskFailed

from sifmake.errors import NO_MEMORY, SifmakeError, SourceError, describe_os_error
from sifmake.project.stage_table import STAGE_NAMES, TARGET
from sifmake.stages.build_order import bases_or_none, with_bases
from sifmake.stages.freshness import renew, renew_if_current, why_stale
from sifmake.stages.lock_check import check_lock
from sifmake.stages.lock_refresh import CHANGED, FAILED, LockOutcome, LockRefresher, describe, summarize
from sifmake.stages.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sifmake.project.project import Project
    from sifmake.project.stage_table import StageName
    from sifmake.stages.stage import Stage

Task = dict[str, Any]

_WITH_VALUE = "nPforvdb"
"""Short options of ``doit run`` with a value; the letters after them belong to the value."""


class DoitTasks:
    """Makes the tasks of a project and runs their actions in this process.

    Attributes:
        project: The project.
        arguments: The command line after ``doit``.
    """

    def __init__(self, project: Project, arguments: Sequence[str]) -> None:
        self.project = project
        self.arguments = arguments
        self._runner = Runner(project)
        self._refresher = LockRefresher(project, building=True)
        self._force = is_forced(arguments)
        self._asked = False

    def lock_tasks(self) -> Iterator[Task]:
        """Yield ``lock``: ask registries which digests the tags point to; fails if they do not answer."""
        yield {
            "basename": "lock",
            "name": None,
            "doc": "ask registries which digests tags point to, and write lock files",
        }
        for name in self._names():
            for basename, action in (("lock", self.lock), ("_lock", self.lock_if_possible)):
                yield {
                    "basename": basename,
                    "name": name,
                    "actions": [(action, [name])],
                    "task_dep": [f"{basename}:{base}" for base in bases_or_none(self.project, name)],
                    "verbosity": 2,
                    "io": {"capture": False},
                }

    def stage_tasks(self, stage: Stage) -> Iterator[Task]:
        """Yield the tasks of one stage, one per image."""
        yield {"basename": stage.name, "name": None, "doc": stage.doc}
        before = ("_lock", *STAGE_NAMES)[STAGE_NAMES.index(stage.name)]
        for name in self.project.images:
            lasting = stage.outputs[-1:] if stage.temporary else stage.outputs
            bases = bases_or_none(self.project, name) if stage.name == "steps" else ()
            which = [stage.name, name]
            yield {
                "basename": stage.name,
                "name": name,
                "actions": [(self.run_stage, which)],
                "uptodate": [(self.is_current, which)],
                "task_dep": [f"{before}:{name}", *(f"publish:{base}" for base in bases)],
                "targets": [str(self.project.path(pattern, name)) for pattern in lasting],
                "clean": True,
                "verbosity": 2,
                "io": {"capture": False},
            }

    def pull_image_tasks(self) -> Iterator[Task]:
        """Yield ``pull_image``: all stages up to the finished SIF, like ``apptainer pull``.

        The stages are its setup, which doit looks at only if the image is not up to date as a whole: most images of a
        large project are, and looking at one stage after the other would take most of the time.
        """
        yield {"basename": "pull_image", "name": None, "doc": "build the signed and verified SIF of each image"}
        for name in self.project.images:
            yield {
                "basename": "pull_image",
                "name": name,
                "doc": str(self.project.path(TARGET, name)),
                "actions": None,
                "uptodate": [(self.is_built, [name])],
                "task_dep": [f"_lock:{name}", *(f"pull_image:{base}" for base in bases_or_none(self.project, name))],
                "setup": [f"publish:{name}"],
                "clean": [(self.clean, [name])],
            }

    def image_tasks(self) -> list[str]:
        """Return the names of the tasks that make a finished SIF, one for each image."""
        return [f"pull_image:{name}" for name in self.project.images]

    def outdated_task(self) -> Task:
        """Return ``outdated``: show what would run and why, without writing anything."""
        return {
            "doc": "show what would run and why, without running it",
            "actions": [self.outdated],
            "uptodate": [False],
            "verbosity": 2,
        }

    def _names(self) -> list[str]:
        """Return the images; raise the kind of error that doit shows as a line, not as a traceback."""
        try:
            return list(self.project.images)
        except SifmakeError as error:
            raise InvalidDodoFile(str(error)) from None

    def lock(self, name: str) -> TaskFailed | None:
        """Refresh a lock; in a locked run, only check it."""
        outcome = self._outcome(name)
        if outcome.state == CHANGED:
            self.project.progress.info(describe(outcome))
        return TaskFailed(str(outcome.error)) if outcome.error else None

    def lock_if_possible(self, name: str) -> TaskFailed | None:
        """Refresh a lock; if no registry answers, warn and continue with the present lock."""
        failure = self.lock(name)
        error = self._outcome(name).error
        if failure is None or self.project.modes.locked or not isinstance(error, SourceError):
            return failure
        try:
            check_lock(self.project, name)
        except SifmakeError:
            return failure
        self.project.progress.warning(f"{error}; building from the lock")
        return None

    def run_stage(self, stage: StageName, name: str) -> TaskFailed | None:
        """Run a stage; see :meth:`Runner.run`. Failures are returned, because doit shows a traceback for exceptions."""
        try:
            self._runner.run(stage, name, force=self._force)
        except SifmakeError as error:
            return TaskFailed(str(error))
        except OSError as error:
            return TaskFailed(describe_os_error(error))
        except MemoryError:
            return TaskFailed(f"{name}: {NO_MEMORY}")
        return None

    def clean(self, name: str) -> None:
        """Remove everything that was built for an image; its lock stays."""
        self.project.path(TARGET, name).unlink(missing_ok=True)
        shutil.rmtree(self.project.record("pull", name).parent, ignore_errors=True)

    def is_current(self, stage: StageName, name: str) -> bool:
        """Tell whether a stage is up to date; if so, renew the times of its outputs."""
        try:
            if why_stale(self.project, stage, name, self.project.lock(name)):
                return False
            renew(self.project, stage, name)
        except (SifmakeError, OSError):
            return False  # the action will fail in the same way and can report it
        return True

    def is_built(self, name: str) -> bool:
        """Tell whether all stages of an image are up to date; if so, renew the times of their outputs."""
        try:
            return renew_if_current(self.project, name)
        except (SifmakeError, OSError):
            return False  # the action of a stage will fail in the same way and can report it

    def outdated(self) -> bool | TaskFailed:
        """Print what would run and why; fail if a registry does not answer."""
        say = self.project.progress.info
        try:
            outcomes = list(self._look())
        except SifmakeError as error:
            return TaskFailed(str(error))
        for outcome in outcomes:
            if outcome.error is not None:
                say(f"{outcome.name}: {outcome.error}")
            elif outcome.state == CHANGED:
                say(f"{outcome.name}: lock: {describe(outcome)}; then what depends on it")
            else:
                for stage, why in self._stale_stages(outcome.name):
                    say(f"{outcome.name}: {stage}: {why}")
        say(summarize(outcomes))
        return not any(outcome.state == FAILED for outcome in outcomes)

    def _stale_stages(self, name: str) -> Iterator[tuple[str, str]]:
        lock = self.project.lock(name)
        for stage in STAGE_NAMES:
            if why := why_stale(self.project, stage, name, lock):
                yield stage, why

    def _look(self) -> Iterator[LockOutcome]:
        if self.project.modes.locked:
            return iter([self._check(name) for name in self.project.images])
        return LockRefresher(self.project, check=True).refresh_all(list(self.project.images))

    def _outcome(self, name: str) -> LockOutcome:
        try:
            return self._find_outcome(name)
        except SifmakeError as error:
            return LockOutcome(name, FAILED, self.project.lock_path(name), error=error)

    def _find_outcome(self, name: str) -> LockOutcome:
        if self.project.modes.locked:
            return self._check(name)
        if not self._asked and multiprocessing.parent_process() is None:
            self._asked = True
            names = selected_images(self.arguments, list(self.project.images))
            for _ in self._refresher.refresh_all(with_bases(self.project, names)):
                pass
        return self._refresher.refresh(name)

    def _check(self, name: str) -> LockOutcome:
        path = self.project.lock_path(name)
        try:
            lock = check_lock(self.project, name)
        except SifmakeError as error:
            return LockOutcome(name, FAILED, path, error=error)
        return LockOutcome(name, "unchanged", path, lock.name, lock.digest, lock.digest)


def selected_images(arguments: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the images whose locks are refreshed together; a wrong guess only costs time.

    Args:
        arguments: The command line after ``doit``.
        names: All images.
    """
    words = [word for word in arguments if not word.startswith("-") and "=" not in word and word != "run"]
    patterns = [word.partition(":")[2] for word in words if ":" in word]
    if not patterns:
        return list(names)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def is_forced(arguments: Sequence[str]) -> bool:
    """Tell whether ``-a`` or ``--always-execute`` is given, which doit does not pass to actions."""
    for word in arguments:
        if word.startswith("--always"):
            return True
        if re.fullmatch(r"-[A-Za-z].*", word):
            letters = re.split(f"[{_WITH_VALUE}]", word[1:], maxsplit=1)[0]
            if "a" in letters:
                return True
    return False
