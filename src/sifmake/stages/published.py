"""The published file of an image, from an earlier run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.files import sha256_of
from sifmake.project.records import read_record
from sifmake.project.stage_table import TARGET
from sifmake.stages.freshness import stage_key, why_big_stale
from sifmake.stages.stage import find_stage

if TYPE_CHECKING:
    from sifmake.project.locks import AnyLock
    from sifmake.project.project import Project
    from sifmake.stages.context import StageContext

_TEST = "test"


def find_published(context: StageContext) -> dict[str, Any] | None:
    """Return the result of publishing if it used this lock and the file still has its bytes, else None.

    Another test of the image does not matter here: the file is the same.
    """
    return published_result(context.project, context.image, context.lock)


def published_result(project: Project, image: str, lock: AnyLock) -> dict[str, Any] | None:
    """Return the result of publishing an image with this lock, as :func:`find_published` does."""
    record = read_record(project.record("publish", image))
    if record is None:
        return None
    before, now = record["key"], stage_key(project, "publish", lock)
    if {**before, _TEST: ""} != {**now, _TEST: ""}:
        return None
    result: dict[str, Any] = record["result"]
    if why_big_stale(project, find_stage("publish"), image, result):
        return None
    return result if f"sha256:{sha256_of(project.path(TARGET, image))}" == result["sha256"] else None
