"""Projects: folders with ``config/images.yaml``, whose images are locked and built in stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.api.common import StrPath, as_names
from sifmake.errors import BusyError, UsageError
from sifmake.progress import Progress, Silent
from sifmake.project.stage_table import STAGE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sifmake.drivers.new_project import NewProject
    from sifmake.drivers.rebuild import Rebuild
    from sifmake.project.project import Modes, Project
    from sifmake.stages.lock_refresh import LockOutcome

STAGES = STAGE_NAMES
"""Names of the stages, in the order in which they build an image."""


@dataclass(frozen=True)
class SeededFile:
    """A finished SIF file where Snakemake looks for it.

    Attributes:
        path: The file.
        image: The ``container:`` directive that it stands for.
    """

    path: Path
    image: str


def start_project(folder: StrPath = ".") -> NewProject:
    """Write the files of a new project, as ``sifmake init`` does; nothing that exists is changed.

    Args:
        folder: Made if it does not exist. If it has a Snakefile, the project is its subfolder ``containers``.

    Raises:
        OSError: A file cannot be written.
    """
    from sifmake.drivers import new_project

    return new_project.start_project(Path(folder))


def lock(
    images: str | Iterable[str] = (),
    *,
    root: StrPath = ".",
    check: bool = False,
    offline: bool = False,
    trust_lock: bool = False,
    progress: Progress | None = None,
) -> tuple[LockOutcome, ...]:
    """Ask registries what tags mean now and write lock files, as ``sifmake lock`` does.

    Args:
        images: Names in ``config/images.yaml``; all without.
        root: Folder of the project.
        check: Whether nothing is written.
        offline: Whether no registry is asked; changed settings are written all the same.
        trust_lock: Whether a lock is believed where nothing at hand proves or disproves it.
        progress: Gets a line for each lock that changed, and a warning for each that failed.

    Returns:
        One outcome for each image. A failure is the ``error`` of its outcome; it does not stop the others.

    Raises:
        ConfigError: There is no project in the folder, or no such image.
    """
    from sifmake.project.project import Modes
    from sifmake.stages.lock_refresh import CHANGED, LockRefresher, describe, summarize

    project = _project(root, Modes(offline=offline, trust_lock=trust_lock), progress)
    outcomes = []
    for outcome in LockRefresher(project, check=check).refresh_all(_names(project, images)):
        outcomes.append(outcome)
        if outcome.error is not None:
            project.progress.warning(f"{outcome.name}: {outcome.error.at_root(str(root))}")
        elif outcome.state == CHANGED:
            project.progress.info(describe(outcome))
    project.progress.info(summarize(outcomes))
    return tuple(outcomes)


def run_stage(
    stage: str,
    image: str,
    *,
    root: StrPath = ".",
    force: bool = False,
    offline: bool = False,
    trust_lock: bool = False,
    progress: Progress | None = None,
) -> bool:
    """Run one stage of one image of a project unless it is up to date, as ``sifmake stage`` does.

    All of :data:`STAGES` in order build the image::

        for stage in sifmake.STAGES:
            sifmake.run_stage(stage, "alpine")

    Args:
        stage: One of :data:`STAGES`.
        image: Name of an image that has a lock.
        root: Folder of the project.
        force: Whether it is run even if it is up to date.
        offline: Whether no registry is asked.
        trust_lock: Whether a lock is believed where nothing at hand proves or disproves it.
        progress: Gets messages and the progress of each layer.

    Returns:
        Whether there was work.

    Raises:
        LockError: There is no lock, or it does not fit the configuration.
        SifmakeError: The stage failed; its outputs are as they were.
    """
    from sifmake.project.project import Modes
    from sifmake.stages.runner import open_runner

    if stage not in STAGES:
        raise UsageError("there is no such stage", where=stage, hint=f"one of {', '.join(STAGES)}")
    project = _project(root, Modes(offline=offline, trust_lock=trust_lock), progress)
    with open_runner(project) as runner:
        return runner.run(stage, image, force=force)


def rebuild(root: StrPath = ".", *, jobs: int = 2, locked: bool = False, progress: Progress | None = None) -> Rebuild:
    """Refresh the locks of a project, build what they say and keep a log of digests, as ``sifmake rebuild`` does.

    The development key signs nothing here. The command that the configuration names as ``notify`` is run where
    something changed or failed.

    Args:
        root: Folder of the project.
        jobs: Images built at the same time.
        locked: Whether the locks stay as they are and no registry is asked what a tag means.
        progress: Gets messages and the progress of each layer.

    Returns:
        What became of each image. A failure is the state of its image; it does not stop the others.

    Raises:
        BusyError: Another rebuild of this project is running; nothing was done.
        ConfigError: There is no project in the folder, or its configuration is not valid.
        OSError: The log or the summary cannot be written.
    """
    from sifmake.drivers import rebuild as driver
    from sifmake.project.project import Modes

    result = driver.rebuild(_project(root, Modes(locked=locked, scheduled=True), progress), max(1, jobs))
    if result is None:
        raise BusyError("another rebuild of this project is running; nothing was done", where=str(Path(root)))
    return result


def seed(
    prefix: StrPath,
    images: str | Iterable[str] = (),
    *,
    root: StrPath = ".",
    progress: Progress | None = None,
) -> tuple[SeededFile, ...]:
    """Put finished SIF files where Snakemake looks for ``container: "docker://..."``, as ``sifmake seed`` does.

    Args:
        prefix: What the other workflow is given as ``--apptainer-prefix``.
        images: Names in ``config/images.yaml``; all without.
        root: Folder of the project.
        progress: Gets a line for each file.

    Returns:
        Each file and the image that it stands for.

    Raises:
        SifmakeError: An image is not built, not up to date with its lock, was altered since, or does not verify.
    """
    from sifmake.drivers.seeding import seed as put

    project = _project(root, None, progress)
    found = []
    for name in _names(project, images):
        for path, image in put(project, name, Path(prefix)):
            project.progress.info(f"{path}: {image}")
            found.append(SeededFile(path, image))
    return tuple(found)


def _project(root: StrPath, modes: Modes | None, progress: Progress | None) -> Project:
    from sifmake.project.project import Project

    return Project(Path(root), modes, progress or Silent())


def _names(project: Project, images: str | Iterable[str]) -> list[str]:
    return [project.image(name).name for name in as_names(images)] or list(project.images)
