"""The rules of sifmake for Snakemake.

A ``Snakefile`` that builds images and nothing else needs two lines::

    from sifmake.snakemake import SNAKEFILE

    include: SNAKEFILE

A pipeline that uses images takes the rules as a module with a folder of its own::

    module containers:
        snakefile: SNAKEFILE
        config: {"root": "containers"}
        prefix: "containers"

    use rule * from containers as containers_*
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["PROFILES", "SNAKEFILE"]


def _carried(name: str) -> Path:
    """Return a folder of package data; in a checkout it is at the top of the repository."""
    inside = Path(__file__).with_name(name)
    return inside if inside.is_dir() else Path(__file__).parents[2] / name


SNAKEFILE = str(_carried("workflow") / "Snakefile")
"""Path of the workflow, for ``include:`` and ``snakefile:``."""
PROFILES = str(_carried("profiles"))
"""Folder of the profiles ``default`` and ``slurm``."""
