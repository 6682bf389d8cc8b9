"""The stage ``pull``: fetch and pack the layers that the store lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.project.locks import BuildLock
from sifmake.project.stage_table import LOCK
from sifmake.stages.stage import Stage

if TYPE_CHECKING:
    from sifmake.project.locks import AnyLock, PrebuiltLock
    from sifmake.project.project import Project
    from sifmake.stages.context import StageContext


def _key(_project: Project, lock: AnyLock) -> dict[str, Any]:
    """The key with every part of the lock that pulling proves, so that changes in them are proven, too."""
    if isinstance(lock, BuildLock):
        bases = [base.inputs() for base in lock.inputs.bases]
        settings = {"compression": lock.build.compression, "format": lock.build.formats["pull"]}
        return {"bases": bases, "platform": lock.platform, **settings}
    proven = lock.document()
    del proven["build"]
    return {**proven, "compression": lock.build.compression, "format": lock.build.formats["pull"]}


def _run(context: StageContext) -> dict[str, Any]:
    session = context.session
    packs = session.fetch(context.project.progress)
    diff_ids = [layer.diff_id for layer in session.image.layers]
    made = {"manifest": context.lock.built_from, "diff_ids": diff_ids, "packs": len(packs)}
    return {**made, **session.foreign()}


def _run_prebuilt(context: StageContext, lock: PrebuiltLock) -> dict[str, Any]:
    from sifmake.stages.prebuilt_images import have_locked

    have_locked(context.project, context.image, lock)
    return {"manifest": lock.file, "diff_ids": [], "packs": 0}


def _run_build(context: StageContext, lock: BuildLock) -> dict[str, Any]:
    diff_ids, packs = context.definition_session.fetch()
    return {"manifest": lock.built_from, "diff_ids": diff_ids, "packs": packs}


STAGE = Stage(
    name="pull",
    doc="fetch the layers that the store lacks and pack them",
    inputs=(LOCK,),
    key=_key,
    run=_run,
    run_prebuilt=_run_prebuilt,
    run_build=_run_build,
)
