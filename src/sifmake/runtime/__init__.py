"""Running programs in SIF files, by Apptainer, by SingularityCE, or by means of our own."""

from sifmake.runtime.backends import choose_runtime

__all__ = ["choose_runtime"]
