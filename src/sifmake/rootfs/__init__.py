"""What Apptainer and SingularityCE want to find in a root file system: ``/.singularity.d`` and mount points."""

from sifmake.rootfs.model import Origin, Prepared, SifMetadata
from sifmake.rootfs.prepare import FORMAT, prepare

__all__ = ["FORMAT", "Origin", "Prepared", "SifMetadata", "prepare"]
