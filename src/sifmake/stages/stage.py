"""The definition of a stage in one value: its files, its format, what its result depends on, and its work.

Each stage has a file with its name in this folder, which defines its :class:`Stage` as ``STAGE``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from sifmake.project.stage_table import STAGE_NAMES, record_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.project.locks import AnyLock, BuildLock, PrebuiltLock
    from sifmake.project.project import Project
    from sifmake.project.stage_table import StageName
    from sifmake.stages.context import StageContext


@dataclass(frozen=True)
class Stage:
    """One step of a build.

    Attributes:
        name: Name of the task, the rule, the argument of ``sifmake stage``, and the file.
        doc: One sentence for lists.
        inputs: Patterns of the files it reads.
        key: Returns everything that the result depends on; it goes into the record.
        run: Makes the outputs except the record, and returns the record's result.
        run_prebuilt: The same for prebuilt SIF files, if it differs.
        run_build: The same for images that are built from a definition, if it differs.
        why_stale: Returns why a result is not enough although its key is right; empty if it is.
        big: Patterns of the outputs except the record.
        temporary: Whether the big outputs are removed when the next stages have used them.
    """

    name: StageName
    doc: str
    inputs: tuple[str, ...]
    key: Callable[[Project, AnyLock], dict[str, Any]]
    run: Callable[[StageContext], dict[str, Any]]
    run_prebuilt: Callable[[StageContext, PrebuiltLock], dict[str, Any]] | None = None
    run_build: Callable[[StageContext, BuildLock], dict[str, Any]] | None = None
    why_stale: Callable[[Project, str, AnyLock, dict[str, Any]], str] | None = None
    big: tuple[str, ...] = ()
    temporary: bool = False

    @property
    def format(self) -> int | None:
        """Its format number, which locks contain; see :mod:`sifmake.formats`. None if it has none."""
        from sifmake.formats import build_format_versions

        return build_format_versions().get(self.name)

    @property
    def record(self) -> str:
        """Pattern of the record."""
        return record_pattern(self.name)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Patterns of all outputs, the record last."""
        return (*self.big, self.record)


@cache
def find_stage(name: StageName) -> Stage:
    """Return a stage by its name, one of :data:`STAGE_NAMES`, and import its file.

    Stages are imported one by one because Snakemake starts a process for each stage, and imports take time.
    """
    module = import_module(f"sifmake.stages.{name}")
    return cast("Stage", module.STAGE)


def all_stages() -> tuple[Stage, ...]:
    """Return the stages in the order in which they run."""
    return tuple(map(find_stage, STAGE_NAMES))
