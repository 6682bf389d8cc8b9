"""What a build step's runner raises."""

from __future__ import annotations

from sifmake.errors import SifmakeError


class RootlessError(SifmakeError):
    """A script of a definition file cannot be run as root here, or what it made cannot be read."""
