"""What SECURITY.md names exists: tests that show a promise, and pages that explain it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_every_test_that_is_named_is_there(repository: Path) -> None:
    named = set(re.findall(r"`(tests/[\w/.]+)`", (repository / "SECURITY.md").read_text()))
    assert len(named) > 25
    missing = sorted(path for path in named if "def test_" not in (repository / path).read_text())
    assert missing == []


def test_every_page_that_is_linked_is_there(repository: Path) -> None:
    linked = re.findall(r"\]\(([\w/.-]+)\)", (repository / "SECURITY.md").read_text())
    assert linked
    assert [path for path in linked if not (repository / path).exists()] == []


def test_each_attacker_has_a_section(repository: Path) -> None:
    text = (repository / "SECURITY.md").read_text()
    sections = re.findall(r"^### (.+)$", text, re.MULTILINE)
    for word in ("registry", "mirror", "network", "neighbour", "author", "SIF file", "pull request"):
        assert any(word in section for section in sections), word
    assert "private vulnerability reporting" in text
