"""Running programs in SIF files, by Apptainer, by SingularityCE, or by means of our own."""

from sifmake.runtime.backends import choose

__all__ = ["choose"]
