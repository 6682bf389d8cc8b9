"""Find mistakes in definition files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.api.common import StrPath
    from sifmake.definition.lint import LintFinding


def lint(path: StrPath, build_args: Mapping[str, str] | None = None) -> tuple[LintFinding, ...]:
    """Return the errors of a definition file, and things that would surprise its author, in the order of its lines.

    Args:
        path: The file.
        build_args: Values of variables, as with ``--build-arg``.

    Raises:
        DefinitionError: The file cannot be read.
    """
    from sifmake.definition.lint import lint_definition
    from sifmake.definition.reader import read_file
    from sifmake.limits import DEFAULT_LIMITS

    return lint_definition(read_file(Path(path), DEFAULT_LIMITS), str(path), build_args)
