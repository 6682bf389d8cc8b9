"""What Apptainer and SingularityCE want to find in a root file system: ``/.singularity.d`` and mount points."""

from sifmake.rootfs.labels import parse_created
from sifmake.rootfs.model import Origin, Prepared, SifMetadata
from sifmake.rootfs.prepare import prepare

__all__ = ["Origin", "Prepared", "SifMetadata", "parse_created", "prepare"]
