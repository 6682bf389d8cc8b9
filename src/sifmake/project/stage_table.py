"""Names of the stages and paths of their files; each stage is defined by its file in :mod:`sifmake.stages`.

To add a stage, add a file there and its name to :data:`StageName`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from pathlib import Path

_LOCK_FOLDER = "config/locks"
LOCK = _LOCK_FOLDER + "/{image}.yaml"
TREE = "results/{image}/tree"
UNSIGNED = "results/{image}/unsigned.sif"
SIGNED = "results/{image}/signed.sif"
TARGET = "images/{image}.sif"

StageName: TypeAlias = Literal["pull", "steps", "flatten", "sif", "sign", "verify", "publish"]
STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)
"""In the order in which they run."""


def record_pattern(stage: StageName) -> str:
    """Return the pattern of a stage's record."""
    return f"results/{{image}}/{stage}.json"


def path_of(root: Path, pattern: str, image: str) -> Path:
    """Return the path of a pattern for an image."""
    return root / pattern.format(image=image)
