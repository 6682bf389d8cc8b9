"""Labels as lines: of ``%labels``, ``%applabels``, and of the file that ``$APPTAINER_LABELS`` names."""

from __future__ import annotations

from sifmake.definition.blanks import trimmed


def parse_labels(text: str) -> dict[str, str]:
    """Return the labels; of one name the last value.

    A name ends at the first space: a tab belongs to it. Quotes and ``#`` belong to the value.
    """
    labels: dict[str, str] = {}
    for line in map(trimmed, text.split("\n")):
        if line and not line.startswith("#"):
            name, _, value = line.partition(" ")
            labels[trimmed(name)] = trimmed(value)
    return labels
