"""Runs stages of a project, one at a time for each image, even across processes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sifmake.builder.damaged_packs import retry_damaged
from sifmake.errors import LockError, SifmakeError
from sifmake.files import refuse_irregular
from sifmake.places import Place, output_place, results_place, store_place, telling_places
from sifmake.project.locks import BuildLock, Lock
from sifmake.project.stage_table import TARGET
from sifmake.stages.context import StageContext
from sifmake.stages.freshness import renew, why_stale
from sifmake.stages.made_files import Seen
from sifmake.stages.stage import find_stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project
    from sifmake.project.stage_table import StageName
    from sifmake.stages.build_session import BuildSession
    from sifmake.stages.definition_session import DefinitionSession


class Runner:
    """Runs stages of a project one after the other; keeps the packs and the tree of the last image.

    Attributes:
        project: The project.
        seen: The big files that are known to be undamaged.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.seen = Seen()
        self._session: BuildSession | DefinitionSession | None = None

    def run(self, stage: StageName, image: str, *, force: bool = False) -> bool:
        """Run one stage unless its record is up to date; return whether it was run.

        Args:
            stage: Name of a stage.
            image: Name of a configured image.
            force: Whether to run it even if it is up to date.

        Raises:
            SifmakeError: The stage failed; its outputs are unchanged.
        """
        target = self.project.path(TARGET, image).absolute()
        try:
            with telling_places(*self._places(image)), self.project.store.lock(f"image {target}"):
                return self._run(stage, image, force=force)
        except SifmakeError as error:
            raise error.within(image) from None

    def close(self) -> None:
        """Close everything that is open."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def session(self, image: str, lock: Lock) -> BuildSession:
        """Return the session of an image; the session of another image is closed."""
        from sifmake.stages.build_session import BuildSession

        known = self._session
        if isinstance(known, BuildSession) and (known.name, known.lock) == (image, lock):
            return known
        self.close()
        self._session = made = BuildSession(self.project, image, lock)
        return made

    def definition_session(self, image: str, lock: BuildLock) -> DefinitionSession:
        """Return the session of an image that is built from a definition; the session of another image is closed."""
        from sifmake.stages.definition_session import DefinitionSession

        known = self._session
        if isinstance(known, DefinitionSession) and (known.name, known.lock) == (image, lock):
            return known
        self.close()
        self._session = made = DefinitionSession(self.project, image, lock)
        return made

    def _places(self, image: str) -> tuple[Place, ...]:
        """Return the places that stages read and write."""
        project, target = self.project, self.project.path(TARGET, image)
        names = {"the lock": image, "the lock of steps": f"{image}.steps"}
        locks = [Place(role, project.lock_path(name)) for role, name in names.items()]
        return store_place(project.store.root), output_place(target), results_place(project.root / "results"), *locks

    def _run(self, stage: StageName, image: str, *, force: bool) -> bool:
        lock = self.project.lock(image)
        stale = force or bool(why_stale(self.project, stage, image, lock))
        if stale:
            _check_format(lock, stage)
            refuse_irregular(self.project.path(TARGET, image))
            self._make(stage, image, lock)
        renew(self.project, stage, image)
        return stale

    def _make(self, stage: StageName, image: str, lock: AnyLock) -> None:
        """Make a stage's outputs; a pack that turns out to be damaged is made again in the same run."""
        context = StageContext(self, image, lock)

        def drop(error: SifmakeError) -> bool:
            if isinstance(lock, BuildLock):
                return context.definition_session.drop_damaged(error)
            return isinstance(lock, Lock) and context.session.drop_damaged(error)

        retry_damaged(lambda: context.make(stage), drop, self.project.progress)


def _check_format(lock: AnyLock, name: StageName) -> None:
    mine, locked = find_stage(name).format, lock.build.formats.get(name)
    if None not in (mine, locked) and mine != locked:
        what = f"the lock has format {locked} of stage {name}, this version of sifmake makes format {mine}"
        raise LockError(what, hint="run `sifmake lock --offline`")


@contextmanager
def open_runner(project: Project) -> Iterator[Runner]:
    """Yield a runner and close it at the end of the block."""
    runner = Runner(project)
    try:
        yield runner
    finally:
        runner.close()
