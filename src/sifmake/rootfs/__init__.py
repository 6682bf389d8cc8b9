"""What Apptainer and SingularityCE want to find in a root file system: ``/.singularity.d`` and mount points."""
