"""Every row of the reports has a test: its number is in the test's name, or the table in README.md names the test."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
COUNTS = {"a": 40, "b": 44, "c": 17, "d": 19, "e": 24, "f": 12, "g": 21, "h": 64}
NEVER = {"h12", "h13", "h21", "h51"}
"""Numbers that the collection does not use."""


def table() -> dict[str, str]:
    """Return the last cell of each row of the table, by the rows that it is about."""
    found = {}
    for line in (TESTS / "reports" / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.match(r"[a-h]\d", cells[0]):
            found |= dict.fromkeys(expanded(cells[0]), cells[-1])
    return found


def expanded(text: str) -> list[str]:
    """Return ``["a1", "a2", "b7"]`` for ``a1-a2, b7``."""
    rows = []
    for part in text.split(", "):
        first, _, last = part.partition("-")
        rows += [f"{first[0]}{number}" for number in range(int(first[1:]), int((last or first)[1:]) + 1)]
    return rows


def named() -> set[str]:
    """Return the rows that names of tests contain."""
    texts = (path.read_text() for path in TESTS.rglob("test_*.py"))
    return {
        row
        for text in texts
        for names in re.findall(r"def test_((?:[a-h]\d+_)+)", text)
        for row in names[:-1].split("_")
    }


def test_every_row_has_a_test() -> None:
    rows = {f"{letter}{number}" for letter, count in COUNTS.items() for number in range(1, count + 1)} - NEVER
    assert sorted(rows - named() - table().keys()) == []


def test_the_tests_of_the_table_are_there() -> None:
    for row, cell in table().items():
        if cell.startswith("not "):
            continue
        path, _, name = cell.strip("`").partition("::")
        assert f"def {name}(" in (TESTS / path).read_text(), row
