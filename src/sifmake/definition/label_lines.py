"""Parse lines with labels: of ``%labels``, ``%applabels`` and the file ``$APPTAINER_LABELS``."""

from __future__ import annotations

from sifmake.definition.blanks import trimmed


def parse_labels(text: str) -> dict[str, str]:
    """Return the labels; if a name is repeated, its last value.

    A name ends at the first space; a tab is part of the name. Quotes and ``#`` are part of the value.
    """
    labels: dict[str, str] = {}
    for line in map(trimmed, text.split("\n")):
        if line and not line.startswith("#"):
            name, _, value = line.partition(" ")
            labels[trimmed(name)] = trimmed(value)
    return labels
