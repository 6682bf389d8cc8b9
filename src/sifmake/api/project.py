"""Projects: folders with ``config/images.yaml``, whose images sifmake locks and builds in stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from sifmake.api.common import StrPath, as_names, resolved_folders
from sifmake.errors import BusyError, UsageError
from sifmake.progress import Progress, Silent, tell_failure
from sifmake.project.stage_table import STAGE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Unpack

    from sifmake.drivers.new_project import NewProject
    from sifmake.drivers.rebuild import Rebuild
    from sifmake.project.project import Modes, Project
    from sifmake.stages.lock_refresh import LockOutcome

STAGES = STAGE_NAMES
"""Names of the stages, in the order in which they build an image."""


@dataclass(frozen=True)
class SeededFile:
    """A finished SIF file that Snakemake will find.

    Attributes:
        path: The file.
        image: The ``container:`` directive that it serves.
    """

    path: Path
    image: str


def start_project(folder: StrPath = ".") -> NewProject:
    """Write the files of a new project, as ``sifmake init`` does; existing files are not changed.

    Args:
        folder: Created if it does not exist. If it has a Snakefile, the project goes into its subfolder ``containers``.

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
    allow_files: Iterable[StrPath] = (),
    allow_host_sections: bool = False,
    progress: Progress | None = None,
) -> tuple[LockOutcome, ...]:
    """Ask registries which digests the tags point to, and write lock files, as ``sifmake lock`` does.

    Args:
        images: Names in ``config/images.yaml``; by default all.
        root: Folder of the project.
        check: Whether to write nothing.
        offline: Whether to ask no registry; changed settings are still written.
        trust_lock: Whether to accept a lock that the store can neither prove nor disprove.
        allow_files: Folders outside the project that its definitions may read.
        allow_host_sections: Whether ``%pre`` and ``%setup`` of its definitions may run on this machine.
        progress: Gets a line for each lock that changed, and an error for each that failed.

    Returns:
        One outcome for each image. If an image fails, its outcome has an ``error``; the others are still refreshed.

    Raises:
        ConfigError: There is no project in the folder, or no such image.
    """
    from sifmake.project.project import Modes
    from sifmake.stages.lock_refresh import CHANGED, LockRefresher, describe, summarize

    modes = Modes(
        offline=offline,
        trust_lock=trust_lock,
        allow_files=resolved_folders(allow_files),
        allow_host_sections=allow_host_sections,
    )
    project = _project(root, modes, progress)
    outcomes = []
    for outcome in LockRefresher(project, check=check).refresh_all(_names(project, images)):
        outcomes.append(outcome)
        if outcome.error is not None:
            tell_failure(project.progress, f"{outcome.name}: {outcome.error.at_root(str(root))}")
        elif outcome.state == CHANGED:
            project.progress.info(describe(outcome))
    project.progress.info(summarize(outcomes))
    return tuple(outcomes)


class StageOptions(TypedDict, total=False):
    """Options of :func:`run_stage`, the same as those of ``sifmake stage``; all are off by default.

    Attributes:
        force: Whether to run the stage even if it is up to date.
        offline: Whether to ask no registry.
        trust_lock: Whether to accept a lock that the store can neither prove nor disprove.
        allow_files: Folders outside the project that its definitions may read.
        allow_host_sections: Whether ``%pre`` and ``%setup`` of its definitions may run on this machine.
        locked: Whether steps of a definition must give what their lock says.
        update_steps: Whether to write that lock again.
        accept_steps: Whether to do so although ``locked`` is set.
    """

    force: bool
    offline: bool
    trust_lock: bool
    allow_files: Iterable[StrPath]
    allow_host_sections: bool
    locked: bool
    update_steps: bool
    accept_steps: bool


def run_stage(
    stage: str,
    image: str,
    *,
    root: StrPath = ".",
    progress: Progress | None = None,
    **options: Unpack[StageOptions],
) -> bool:
    """Run one stage of one image of a project unless it is up to date, as ``sifmake stage`` does.

    All of :data:`STAGES` in order build the image::

        for stage in sifmake.STAGES:
            sifmake.run_stage(stage, "alpine")

    Args:
        stage: One of :data:`STAGES`.
        image: Name of an image that has a lock.
        root: Folder of the project.
        progress: Gets messages and the progress of each layer.
        options: See :class:`StageOptions`.

    Returns:
        Whether the stage was run.

    Raises:
        LockError: There is no lock, or it does not match the configuration.
        StepsDifferError: A step gave something else than its lock says.
        SifmakeError: The stage failed; its outputs are unchanged.
    """
    from sifmake.project.project import Modes
    from sifmake.stages.runner import open_runner

    if stage not in STAGES:
        raise UsageError("there is no such stage", where=stage, hint=f"use one of {', '.join(STAGES)}")
    modes = Modes(
        locked=options.get("locked", False),
        offline=options.get("offline", False),
        trust_lock=options.get("trust_lock", False),
        update_steps=options.get("update_steps", False),
        accept_steps=options.get("accept_steps", False),
        allow_files=resolved_folders(options.get("allow_files", ())),
        allow_host_sections=options.get("allow_host_sections", False),
    )
    with open_runner(_project(root, modes, progress)) as runner:
        return runner.run(stage, image, force=options.get("force", False))


def rebuild(
    root: StrPath = ".",
    *,
    jobs: int = 2,
    locked: bool = False,
    progress: Progress | None = None,
    allow_files: Iterable[StrPath] = (),
    allow_host_sections: bool = False,
    update_steps: bool = False,
    accept_steps: bool = False,
) -> Rebuild:
    """Refresh the locks of a project, build its images and log their digests, as ``sifmake rebuild`` does.

    The development key is never used here. If something changed or failed, the configured ``notify`` command is run.

    Args:
        root: Folder of the project.
        jobs: Images built at the same time.
        locked: Whether to keep the locks as they are and not to ask registries for tags.
        allow_files: Folders outside the project that its definitions may read.
        allow_host_sections: Whether ``%pre`` and ``%setup`` of its definitions may run on this machine.
        update_steps: Whether to write the locks of what steps gave again.
        accept_steps: Whether to do so although ``locked`` is set.
        progress: Gets messages and the progress of each layer.

    Returns:
        The state of each image. If one fails, its state says so; the others are still built.

    Raises:
        BusyError: Another rebuild of this project is running; nothing was done.
        ConfigError: There is no project in the folder, or its configuration is not valid.
        OSError: The log or the summary cannot be written.
    """
    from sifmake.drivers import rebuild as driver
    from sifmake.project.project import Modes

    modes = Modes(
        locked=locked,
        scheduled=True,
        allow_files=resolved_folders(allow_files),
        allow_host_sections=allow_host_sections,
        update_steps=update_steps,
        accept_steps=accept_steps,
    )
    result = driver.rebuild(_project(root, modes, progress), max(1, jobs))
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
        prefix: The other workflow's ``--apptainer-prefix``.
        images: Names in ``config/images.yaml``; by default all.
        root: Folder of the project.
        progress: Gets a line for each file.

    Returns:
        Each file and the image that it serves.

    Raises:
        SifmakeError: An image is not built, not up to date with its lock, was altered later, or does not verify.
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
