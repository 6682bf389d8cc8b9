"""What one stage is: its files, its format, what its result depends on, and its work, in one value.

Each stage has a file of its name in this folder, which holds its :class:`Stage` as ``STAGE``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from sifmake.project.stage_table import STAGE_NAMES, record_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.project.locks import AnyLock, PrebuiltLock
    from sifmake.project.project import Project
    from sifmake.stages.context import StageContext


@dataclass(frozen=True)
class Stage:
    """One step on an image's way.

    Attributes:
        name: Task, rule and ``sifmake stage`` name; that of its file.
        doc: One sentence for lists.
        inputs: Patterns of the files it reads.
        key: Returns everything that the result depends on; it goes into the record.
        run: Makes the outputs besides the record and returns the record's result.
        run_prebuilt: The same for images that are SIF files already, where that is other work.
        big: Patterns of the outputs besides the record.
        temporary: Whether the big outputs go away when the next stages have used them.
    """

    name: str
    doc: str
    inputs: tuple[str, ...]
    key: Callable[[Project, AnyLock], dict[str, Any]]
    run: Callable[[StageContext], dict[str, Any]]
    run_prebuilt: Callable[[StageContext, PrebuiltLock], dict[str, Any]] | None = None
    big: tuple[str, ...] = ()
    temporary: bool = False

    @property
    def format(self) -> int | None:
        """Number of its format, held by locks, see :mod:`sifmake.formats`; None where it has none."""
        from sifmake.formats import format_versions

        return format_versions().get(self.name)

    @property
    def record(self) -> str:
        """Pattern of the record."""
        return record_pattern(self.name)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Patterns of all outputs, the record last."""
        return (*self.big, self.record)


def find_stage(name: str) -> Stage:
    """Return a stage by its name, one of :data:`STAGE_NAMES`; its file is imported now.

    Imported one by one: Snakemake starts a process for each stage, which pays for what it imports.
    """
    module = import_module(f"sifmake.stages.{name}")
    return cast("Stage", module.STAGE)


def all_stages() -> tuple[Stage, ...]:
    """Return the stages in their order."""
    return tuple(map(find_stage, STAGE_NAMES))
