"""Which sections of a definition are used: ``--section`` and ``--force``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sifmake.definition.model import BuildStage


@dataclass(frozen=True)
class SectionChoice:
    """Which sections are used, and whether they replace what the base has.

    Attributes:
        force: Help and labels of the file replace those of the base.
        only: Names of ``--section``; None for all. ``%post`` is always used, as by the peers.
    """

    force: bool = False
    only: frozenset[str] | None = None

    def counts(self, name: str) -> bool:
        """Tell whether a section is used."""
        return self.only is None or name in self.only or name == "post"

    def text(self, stage: BuildStage, name: str) -> str:
        """Return the text of a section; empty if it is missing or not used."""
        return stage.text(name) if self.counts(name) else ""
