"""Definition files of the corpus, and what Apptainer made of them; short texts for tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sifmake.definition import read_definition
from support.corpus import CORPUS

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.definition import BuildStage, Definition

DEFINITIONS = CORPUS / "definition"
GOOD = sorted(path.stem for path in (DEFINITIONS / "defs").glob("*.def"))
BAD = sorted(path.stem for path in (DEFINITIONS / "bad").glob("*.def"))
HEADER = "Bootstrap: oci\nFrom: base\n"


def good(name: str) -> Path:
    return DEFINITIONS / f"defs/{name}.def"


def recorded(name: str) -> dict[str, Any]:
    """Return what Apptainer made of a file."""
    return json.loads((DEFINITIONS / f"apptainer/{name}.json").read_bytes())


def parsed(text: str, arguments: dict[str, str] | None = None) -> Definition:
    return read_definition(text.encode(), "x.def", arguments)


def stage(sections: str, header: str = HEADER) -> BuildStage:
    """Return the stage of a file with these sections."""
    return parsed(header + sections).last
