"""Stages, targets, locks and records: what doit, Snakemake and the command line share."""

from sifmake.pipeline.declaration import STAGES
from sifmake.pipeline.project import Modes, Project

__all__ = ["STAGES", "Modes", "Project"]
