"""The stage ``steps``: run the steps of a definition that have no layer in the store yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.project.locks import BuildLock
from sifmake.project.records import read_record
from sifmake.project.stage_table import LOCK, STAGE_NAMES, record_pattern
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
    session = context.definition_session
    tree = session.run_steps().tree
    layers = list(tree.diff_ids[tree.base_layers :])
    _forget_others(context.project, context.image, layers)
    host = {"host": session.host_layers} if session.host_layers else {}
    return {"layers": layers, "steps_lock": session.outcome.digest, "unlocked": session.outcome.missing, **host}


def _forget_others(project: Project, image: str, layers: list[str]) -> None:
    """Remove the records of later stages if they may be about other layers, which their keys do not tell.

    Without a record of this stage nobody knows: Snakemake removes it if a locked run finds a difference.
    """
    record = read_record(project.record(STAGE.name, image))
    if record is None or record["result"].get("layers") != layers:
        for name in STAGE_NAMES[STAGE_NAMES.index(STAGE.name) + 1 :]:
            project.record(name, image).unlink(missing_ok=True)


def _why_stale(project: Project, image: str, lock: AnyLock, result: dict[str, Any]) -> str:
    """Compare what the steps gave with the lock of steps, without reading it, because no key contains it."""
    if isinstance(lock, BuildLock) and lock.inputs.host:
        return f"%{lock.inputs.host[0]} runs at every build"
    if not isinstance(lock, BuildLock) or "steps_lock" not in result:
        return ""
    from sifmake.project.steps_lock import steps_lock_digest

    use = project.steps_lock(image)
    now, agreed = steps_lock_digest(use.path), result["steps_lock"]
    if use.is_bound:
        return "its steps were not compared with the lock of steps" if now and now != agreed else ""
    if use.rewrites and now != agreed:
        return "the lock of steps is to be written again"
    return "steps are missing in the lock of steps" if result.get("unlocked") or (agreed and not now) else ""


STAGE = Stage(
    name="steps",
    doc="run the steps of a definition that the store lacks",
    inputs=(LOCK, record_pattern("pull")),
    key=_key,
    run=_run,
    run_build=_run_build,
    why_stale=_why_stale,
)
