"""The context in which a stage runs: the image, its lock, and access to the results of earlier stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.project.locks import BuildLock, Lock, PrebuiltLock
from sifmake.project.records import read_record, write_record
from sifmake.stages.freshness import stage_key, why_stale
from sifmake.stages.stage import find_stage

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project
    from sifmake.project.stage_table import StageName
    from sifmake.stages.build_session import BuildSession
    from sifmake.stages.definition_session import DefinitionSession
    from sifmake.stages.made_files import Seen
    from sifmake.stages.runner import Runner


class StageContext:
    """One image and its stages.

    Attributes:
        project: The project.
        image: The image's name.
        lock: Its lock.
        seen: The big files that this process knows to be undamaged.
    """

    def __init__(self, runner: Runner, image: str, lock: AnyLock) -> None:
        self.project: Project = runner.project
        self.image = image
        self.lock = lock
        self.seen: Seen = runner.seen
        self._runner = runner

    @property
    def session(self) -> BuildSession:
        """Data that the stages of this image share in this process; not for prebuilt files, which need no build."""
        if not isinstance(self.lock, Lock):
            raise TypeError(self.lock)
        return self._runner.session(self.image, self.lock)

    @property
    def definition_session(self) -> DefinitionSession:
        """Data that the stages of an image share that is built from a definition."""
        if not isinstance(self.lock, BuildLock):
            raise TypeError(self.lock)
        return self._runner.definition_session(self.image, self.lock)

    def path(self, pattern: str) -> Path:
        """Return the path of a pattern for the image."""
        return self.project.path(pattern, self.image)

    def result(self, stage: StageName) -> dict[str, Any] | None:
        """Return the result of a stage; None if it is not up to date."""
        record = read_record(self.project.record(stage, self.image))
        if record is None or why_stale(self.project, stage, self.image, self.lock):
            return None
        result: dict[str, Any] = record["result"]
        return result

    def known(self, stage: StageName, pattern: str) -> dict[str, Any] | None:
        """Return the result of an earlier stage; None if it or its big output is missing or stale."""
        result, path = self.result(stage), self.path(pattern)
        return result if result is not None and path.is_file() and path.stat().st_size == result["size"] else None

    def ensure(self, stage: StageName, pattern: str) -> dict[str, Any]:
        """Return the result of an earlier stage, and make its big output again if it is missing."""
        known = self.known(stage, pattern)
        return self.make(stage) if known is None else known

    def make(self, name: StageName) -> dict[str, Any]:
        """Run a stage, then write its record, so that a record always means finished outputs; return the result."""
        stage = find_stage(name)
        if stage.run_prebuilt is not None and isinstance(self.lock, PrebuiltLock):
            result = stage.run_prebuilt(self, self.lock)
        elif stage.run_build is not None and isinstance(self.lock, BuildLock):
            result = stage.run_build(self, self.lock)
        else:
            result = stage.run(self)
        record, key = self.project.record(name, self.image), stage_key(self.project, name, self.lock)
        try:
            write_record(record, name, key, result)
        except OSError as error:
            what = f"what the stage {name} made is in place, but its record cannot be written: {error.strerror}"
            raise OSError(error.errno, what, error.filename or str(record)) from error
        return result

    def make_again(self, stage: StageName, path: Path) -> dict[str, Any]:
        """Remove a damaged big file and make it again, with the files it is made from if they are missing."""
        self.project.progress.warning(f"{path} was damaged after it was built; it will be rebuilt")
        path.unlink(missing_ok=True)
        return self.make(stage)
