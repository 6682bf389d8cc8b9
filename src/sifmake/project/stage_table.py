"""Names of the stages and places of their files. What a stage is, its file in :mod:`sifmake.stages` says.

A new stage is one new file there and its name in :data:`STAGE_NAMES`.
"""

from __future__ import annotations

from pathlib import Path

_LOCK_FOLDER = "config/locks"
LOCK = _LOCK_FOLDER + "/{image}.yaml"
TREE = "results/{image}/tree"
UNSIGNED = "results/{image}/unsigned.sif"
SIGNED = "results/{image}/signed.sif"
TARGET = "images/{image}.sif"

STAGE_NAMES = ("pull", "flatten", "sif", "sign", "verify", "publish")
"""In the order in which an image goes through them."""


def record_pattern(stage: str) -> str:
    """Return the pattern of a stage's record."""
    return f"results/{{image}}/{stage}.json"


def path_of(root: Path, pattern: str, image: str) -> Path:
    """Return the path that a pattern gives for an image."""
    return root / Path(pattern.format(image=image))
