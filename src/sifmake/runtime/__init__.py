"""Running programs in SIF files, by Apptainer, by SingularityCE, or by means of our own."""

from sifmake.runtime.backends import run_image

__all__ = ["run_image"]
