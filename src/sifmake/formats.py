"""Numbers of the stages' formats: whoever only looks for a finished file needs no more of the stages.

Raise the number of a stage when it makes other bytes of the same input: locks and the store's keys hold them.
"""

from __future__ import annotations

PACK_VERSION = 1
"""Raise it when a pack of the same layer would hold other bytes."""

TREE_VERSION = 1
"""Raise it when the same layers give another tree."""

SIF_VERSION = 2
"""Raise it when the same tree would give another SIF file."""


def format_versions() -> dict[str, int]:
    """Return for each stage the number that is raised when it would make other bytes from the same input."""
    return {"pull": PACK_VERSION, "flatten": TREE_VERSION, "sif": SIF_VERSION}
