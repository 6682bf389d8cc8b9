"""The stage ``steps``: run the steps of a definition that have no layer in the store yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.project.locks import BuildLock
from sifmake.project.stage_table import LOCK, record_pattern
from sifmake.stages.stage import Stage

if TYPE_CHECKING:
    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project
    from sifmake.stages.context import StageContext


def _key(_project: Project, lock: AnyLock) -> dict[str, Any]:
    """The key: all inputs; the layers of pulled images have no steps, whatever is in their locks."""
    if not isinstance(lock, BuildLock):
        return {}
    formats = {stage: lock.build.formats[stage] for stage in ("pull", "steps")}
    return {"inputs": lock.digest, "compression": lock.build.compression, "formats": formats}


def _run(_context: StageContext) -> dict[str, Any]:
    """Do nothing: the image is pulled."""
    return {"layers": []}


def _run_build(context: StageContext, _lock: BuildLock) -> dict[str, Any]:
    tree = context.definition_session.build().tree
    return {"layers": list(tree.diff_ids[tree.base_layers :])}


STAGE = Stage(
    name="steps",
    doc="run the steps of a definition that the store lacks",
    inputs=(LOCK, record_pattern("pull")),
    key=_key,
    run=_run,
    run_build=_run_build,
)
