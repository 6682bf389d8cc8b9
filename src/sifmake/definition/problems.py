"""Errors with file, line and section."""

from __future__ import annotations

from dataclasses import dataclass

from sifmake.errors import DefinitionError


@dataclass(frozen=True)
class DefinitionPlace:
    """The file that is being read, for messages.

    Attributes:
        source: Its name.
    """

    source: str

    def error(self, line: int, what: str, hint: str = "", *, section: str = "") -> DefinitionError:
        """Return an error about a line and its section."""
        where = f"{self.source}:{line}" if line else self.source
        error = DefinitionError(what, where=f"{where}: %{section}" if section else where, hint=hint)
        error.line, error.section = line, section
        return error
