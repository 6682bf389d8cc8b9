"""The error of the script runner."""

from __future__ import annotations

from sifmake.errors import SifmakeError


class RootlessError(SifmakeError):
    """A script of a definition file cannot run as root here, or its result cannot be read."""
