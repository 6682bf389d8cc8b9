"""The stage ``flatten``: merge the indexes of the layers into one tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.files import atomic_write
from sifmake.project.locks import BuildLock
from sifmake.project.stage_table import LOCK, TREE, record_pattern
from sifmake.stages.stage import Stage

if TYPE_CHECKING:
    from sifmake.project.locks import AnyLock, PrebuiltLock
    from sifmake.project.project import Project
    from sifmake.stages.context import StageContext


def _key(_project: Project, lock: AnyLock) -> dict[str, Any]:
    if isinstance(lock, BuildLock):
        formats = {stage: lock.build.formats[stage] for stage in ("pull", "steps", "flatten")}
        return {"inputs": lock.digest, "labels": lock.build.labels, "formats": formats}
    document = lock.document()
    layers = [layer["digest"] for layer in document["layers"]]
    formats = {stage: lock.build.formats[stage] for stage in ("pull", "flatten")}
    return {"layers": layers, "config": document["config"], "formats": formats}


def _run(context: StageContext) -> dict[str, Any]:
    flattened = context.session.flatten(context.path(TREE))
    return {"tree": flattened.digest, "entries": flattened.entries}


def _run_prebuilt(context: StageContext, lock: PrebuiltLock) -> dict[str, Any]:
    """Write a tree file that only names the SIF file, because that file contains its tree."""
    with atomic_write(context.path(TREE)) as file:
        file.write(f"{lock.file}\n".encode())
    return {"tree": lock.file, "entries": 0}


def _run_build(context: StageContext, _lock: BuildLock) -> dict[str, Any]:
    """Write the listing of the tree; the next stage takes the tree from this process, or builds it again."""
    digest, entries = context.definition_session.flatten(context.path(TREE))
    return {"tree": digest, "entries": entries}


STAGE = Stage(
    name="flatten",
    doc="merge the layers' indexes into one tree",
    inputs=(LOCK, record_pattern("steps")),
    key=_key,
    run=_run,
    run_prebuilt=_run_prebuilt,
    run_build=_run_build,
    big=(TREE,),
    temporary=True,
)
