"""Errors of running programs in images."""

from __future__ import annotations

from sifmake.errors import SifmakeError


class RunError(SifmakeError):
    """A program cannot be started in an image; the exit status is the same as Apptainer's."""

    exit_code = 255
