"""Running programs in SIF files with Apptainer, SingularityCE or the built-in back end."""

from sifmake.runtime.backends import choose_runtime

__all__ = ["choose_runtime"]
