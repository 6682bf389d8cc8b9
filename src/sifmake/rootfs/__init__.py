"""The parts of a root file system that Apptainer and SingularityCE need: ``/.singularity.d`` and mount points."""

from sifmake.rootfs.labels import parse_created
from sifmake.rootfs.model import Origin, Prepared, SifMetadata
from sifmake.rootfs.prepare import definition_text, prepare

__all__ = ["Origin", "Prepared", "SifMetadata", "definition_text", "parse_created", "prepare"]
