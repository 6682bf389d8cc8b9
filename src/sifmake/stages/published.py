"""The published file of an image, from an earlier run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.files import sha256_of
from sifmake.project.records import read_record
from sifmake.project.stage_table import TARGET
from sifmake.stages.freshness import stage_key, why_big_stale
from sifmake.stages.stage import find_stage

if TYPE_CHECKING:
    from sifmake.stages.context import StageContext

_TEST = "test"


def find_published(context: StageContext) -> dict[str, Any] | None:
    """Return the result of publishing if it used this lock and the file still has its bytes, else None.

    Another test of the image does not matter here: the file is the same.
    """
    record = read_record(context.project.record("publish", context.image))
    if record is None:
        return None
    before, now = record["key"], stage_key(context.project, "publish", context.lock)
    if {**before, _TEST: ""} != {**now, _TEST: ""}:
        return None
    result: dict[str, Any] = record["result"]
    if why_big_stale(context.project, find_stage("publish"), context.image, result):
        return None
    return result if f"sha256:{sha256_of(context.path(TARGET))}" == result["sha256"] else None
