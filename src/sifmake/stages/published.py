"""The published file of an image, from an earlier run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.files import sha256_of
from sifmake.project.stage_table import TARGET

if TYPE_CHECKING:
    from sifmake.stages.context import StageContext


def find_published(context: StageContext) -> dict[str, Any] | None:
    """Return the result of publishing if it used this lock and the file still has its bytes, else None."""
    result = context.result("publish")
    if result is None:
        return None
    return result if f"sha256:{sha256_of(context.path(TARGET))}" == result["sha256"] else None
