"""Format numbers of the stages, in a module of their own because looking for a finished file needs nothing else.

Raise the number of a stage when it makes different bytes from the same input. Locks and keys of the store contain it.
"""

from __future__ import annotations

PACK_VERSION = 2
"""Raise it if a pack of the same layer would have different data or a different index."""

TREE_VERSION = 1
"""Raise it if the same layers would give a different tree."""

SIF_VERSION = 3
"""Raise it if the same tree would give a different SIF file."""


_STEPS_VERSION = 1
"""Raise it if the same definition would give other layers; see also ``STEP_FORMAT`` and ``SEMANTICS``."""


def format_versions() -> dict[str, int]:
    """Return the format number of each stage that images with layers depend on."""
    return {"pull": PACK_VERSION, "flatten": TREE_VERSION, "sif": SIF_VERSION}


def build_format_versions() -> dict[str, int]:
    """Return the format number of each stage that images built from a definition depend on."""
    versions = format_versions()
    return {"pull": versions["pull"], "steps": _STEPS_VERSION, **versions}
