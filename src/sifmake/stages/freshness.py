"""A stage is up to date if the key in its record equals the key that follows from the lock."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from sifmake.errors import SifError, SigningError
from sifmake.files import sha256_of
from sifmake.project.locks import BuildLock
from sifmake.project.records import differences, read_record
from sifmake.project.stage_table import SIGNED, STAGE_NAMES, TARGET
from sifmake.stages.stage import all_stages, find_stage

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project
    from sifmake.project.stage_table import StageName
    from sifmake.stages.stage import Stage


def stage_key(project: Project, stage: StageName, lock: AnyLock) -> dict[str, Any]:
    """Return everything that a stage's result depends on."""
    return find_stage(stage).key(project, lock)


def why_stale(project: Project, stage_name: StageName, image: str, lock: AnyLock) -> str:
    """Return in words why a stage has to run; empty if it is up to date."""
    stage = find_stage(stage_name)
    record = read_record(project.record(stage_name, image))
    if record is None:
        return "there is no record"
    changed = differences(record["key"], stage_key(project, stage_name, lock))
    if changed:
        return "; ".join(changed)
    if stage.why_stale is not None and (why := stage.why_stale(project, image, lock, record["result"])):
        return why
    return "" if stage.temporary else why_big_stale(project, stage, image, record["result"])


def why_big_stale(project: Project, stage: Stage, image: str, result: dict[str, Any]) -> str:
    """Return in words why the big outputs of a stage are not those of its result; empty if they are."""
    if TARGET in stage.big and project.path(SIGNED, image).exists():
        return "a signed file is waiting to be published"
    for pattern in stage.big:
        path = project.path(pattern, image)
        if not path.exists():
            return f"{path} is missing"
        if path.stat().st_size != result["size"]:
            return f"{path} is not the file that the stage made"
        if project.modes.check and f"sha256:{sha256_of(path)}" != result["sha256"]:
            return f"{path} does not have the bytes that the stage made"
    return _why_not_published(project, image) if project.modes.check and TARGET in stage.big else ""


def _why_not_published(project: Project, image: str) -> str:
    """Return why the published file is not the image of its lock; its record may have been replaced, too."""
    from sifmake.builder.image_signing import check_published

    try:
        check_published(project, image)
    except (SigningError, SifError) as error:
        return f"{error.where} {error.what}"
    return ""


def renew(project: Project, stage_name: StageName, image: str) -> None:
    """Give the outputs of an up-to-date stage a time that is not before that of its inputs.

    Snakemake compares times if it did not make the files itself. A fresh clone, or a lock that was rewritten because of
    another stage, must not make it run the stage.
    """
    _renew(_Times(project, image), stage_name)


def renew_if_current(project: Project, image: str) -> bool:
    """Tell whether all stages of an image are up to date; if so, renew the times of their outputs."""
    lock = project.lock(image)
    if any(why_stale(project, stage, image, lock) for stage in STAGE_NAMES):
        return False
    times = _Times(project, image)
    for stage in STAGE_NAMES:
        _renew(times, stage)
    return True


class _Times:
    """The times of an image's files, each looked up once: most are inputs of several stages."""

    def __init__(self, project: Project, image: str) -> None:
        self.project = project
        self.image = image
        self._known: dict[str, int] = {}

    def of(self, pattern: str) -> int:
        if pattern not in self._known:
            self._known[pattern] = _time(self.project.path(pattern, self.image))
        return self._known[pattern]

    def renew(self, pattern: str) -> None:
        os.utime(self.project.path(pattern, self.image))
        del self._known[pattern]


def _renew(times: _Times, stage_name: StageName) -> None:
    inputs = [times.of(pattern) for pattern in _lasting_inputs(stage_name)]
    if stage_name == "steps":
        inputs += map(_time, _bases_of(times.project, times.image))
    newest = max(inputs, default=0)
    for pattern in find_stage(stage_name).outputs:
        if 0 < times.of(pattern) < newest:
            times.renew(pattern)


def _bases_of(project: Project, image: str) -> list[Path]:
    """Return the files of images from which an image is built, as its lock names them."""
    lock = project.lock(image)
    sources = [base.source for base in lock.inputs.bases] if isinstance(lock, BuildLock) else []
    files = [project.root / source for source in sources if source.endswith(".sif") and "://" not in source]
    return [*files, *(project.record("publish", file.stem) for file in files)]


@cache
def _lasting_inputs(name: StageName) -> tuple[str, ...]:
    passing = {pattern for other in all_stages() if other.temporary for pattern in other.big}
    return tuple(pattern for pattern in find_stage(name).inputs if pattern not in passing)


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
