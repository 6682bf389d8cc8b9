"""Which sections of a definition count: ``--section`` and ``--force``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sifmake.definition.model import BuildStage


@dataclass(frozen=True)
class SectionChoice:
    """Which sections count, and over what.

    Attributes:
        force: Help and labels of the file replace those that are there.
        only: Names of ``--section``; None for all. ``%post`` always counts, as with the peers.
    """

    force: bool = False
    only: frozenset[str] | None = None

    def counts(self, name: str) -> bool:
        """Tell whether a section counts."""
        return self.only is None or name in self.only or name == "post"

    def text(self, stage: BuildStage, name: str) -> str:
        """Return the text of a section that counts; empty where there is none."""
        return stage.text(name) if self.counts(name) else ""
