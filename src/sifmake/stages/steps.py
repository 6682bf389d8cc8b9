"""The stage ``steps``: run the steps of a definition that have no layer in the store yet."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from sifmake.project.locks import BuildLock
from sifmake.project.records import read_record
from sifmake.project.stage_table import LOCK, STAGE_NAMES, record_pattern
from sifmake.stages.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    layers, chain = list(tree.diff_ids[tree.base_layers :]), _digest_of_chain(tree.diff_ids)
    _forget_others(context.project, context.image, chain)
    host = {"host": session.host_layers} if session.host_layers else {}
    agreed = {"steps_lock": session.outcome.digest, "unlocked": session.outcome.missing}
    return {"layers": layers, "chain": chain, "bases": _bases(context.project, session.base_images()), **agreed, **host}


def _digest_of_chain(diff_ids: Sequence[str]) -> str:
    return f"sha256:{hashlib.sha256(' '.join(diff_ids).encode()).hexdigest()}"


def _bases(project: Project, images: Iterable[str]) -> dict[str, str]:
    """Return what each image that is a base was made of; its lock tells only the inputs."""
    records = {name: read_record(project.record(STAGE.name, name)) for name in images}
    return {name: record["result"].get("chain", "") if record else "" for name, record in records.items()}


def _forget_others(project: Project, image: str, chain: str) -> None:
    """Remove the records of later stages if they may be about other layers, which their keys do not tell.

    Without a record of this stage nobody knows: Snakemake removes it if a locked run finds a difference.
    """
    record = read_record(project.record(STAGE.name, image))
    if record is None or record["result"].get("chain") != chain:
        for name in STAGE_NAMES[STAGE_NAMES.index(STAGE.name) + 1 :]:
            project.record(name, image).unlink(missing_ok=True)


def _why_stale(project: Project, image: str, lock: AnyLock, result: dict[str, Any]) -> str:
    """Compare what the steps gave with the lock of steps, without reading it, because no key contains it."""
    if isinstance(lock, BuildLock) and lock.inputs.host:
        return f"%{lock.inputs.host[0]} runs at every build"
    if not isinstance(lock, BuildLock) or "steps_lock" not in result:
        return ""
    from sifmake.project.steps_lock import steps_lock_digest

    bases = result.get("bases", {})
    if bases != _bases(project, bases):
        return "the steps of a base gave something else"
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
