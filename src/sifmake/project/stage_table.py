"""The one declaration of the stages: names, inputs and outputs of each image.

``dodo.py`` makes tasks from it, ``workflow/rules`` spells it out for Snakemake, and a test holds both equal to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_LOCK_FOLDER = "config/locks"
LOCK = _LOCK_FOLDER + "/{image}.yaml"
TREE = "results/{image}/tree"
UNSIGNED = "results/{image}/unsigned.sif"
SIGNED = "results/{image}/signed.sif"
TARGET = "images/{image}.sif"

ZSTD_WARNING = "Apptainer runs images with zstd blocks, SingularityCE refuses them"
"""Said when such an image is made."""


@dataclass(frozen=True)
class Stage:
    """One step on an image's way.

    Attributes:
        name: Task, rule and ``sifmake stage`` name.
        doc: One sentence for lists.
        inputs: Patterns of the files it reads.
        big: Patterns of the outputs besides the record.
        temporary: Whether the big outputs go away when the next stages have used them.
    """

    name: str
    doc: str
    inputs: tuple[str, ...]
    big: tuple[str, ...] = ()
    temporary: bool = False

    @property
    def record(self) -> str:
        """Pattern of the record."""
        return f"results/{{image}}/{self.name}.json"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Patterns of all outputs, the record last."""
        return (*self.big, self.record)


def _record(stage: str) -> str:
    return f"results/{{image}}/{stage}.json"


STAGES = (
    Stage("pull", "fetch the layers that the store lacks and pack them", (LOCK,)),
    Stage("flatten", "merge the layers' indexes into one tree", (LOCK, _record("pull")), (TREE,), temporary=True),
    Stage("sif", "assemble the unsigned SIF", (LOCK, TREE, _record("flatten")), (UNSIGNED,), temporary=True),
    Stage("sign", "sign the SIF", (LOCK, UNSIGNED, _record("sif")), (SIGNED,), temporary=True),
    Stage("verify", "verify the signed SIF with the trusted keys", (LOCK, SIGNED, _record("sign"))),
    Stage("publish", "move the verified SIF to its final place", (LOCK, SIGNED, _record("verify")), (TARGET,)),
)
STAGE_NAMES = tuple(stage.name for stage in STAGES)


def find_stage(name: str) -> Stage:
    """Return a stage by its name, which must be one of :data:`STAGE_NAMES`."""
    return STAGES[STAGE_NAMES.index(name)]


def path_of(root: Path, pattern: str, image: str) -> Path:
    """Return the path that a pattern gives for an image."""
    return root / Path(pattern.format(image=image))
