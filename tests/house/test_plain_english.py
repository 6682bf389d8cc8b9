"""The English of code and documents: habits of translated text that reviews have removed, and that must not return."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.project import REPOSITORY

HABITS = {
    "is no": (r"(?<!there )(?<!\")\bis no\b(?! longer| more)", "say 'is not a'; only 'there is no' reads well"),
    "anew": (r"\banew\b", "say 'again'"),
    "wholly": (r"\bwholly\b", "say 'completely'"),
    "the like of": (r"\bthe like of\b", "say 'such as'"),
    "nobody vouches": (r"\bnobody vouches\b", "say 'untrusted'"),
    "and its like": (r"\band (its|the) like\b", "say 'and similar' or name them"),
    "handed on": (r"\bhanded on\b", "say 'passed on'"),
    "looked at": (r"\b(is|are|was|were) looked at\b", "say 'checked' or 'read'"),
    "at hand": (r"\bat hand\b", "say where it is, or 'available'"),
    "a question as a hint": (r"hint\s*=\s*\(?\s*f?\"is (the|this|it|there)\b[^\"]*\?", "say 'check ...'"),
}
FOLDERS = ("src", "docs", "tests", "benchmarks", "config", "deploy", "examples", "profiles", "workflow", "envs")
TEXTS = [
    path
    for path in (*REPOSITORY.glob("*.md"), *(path for name in FOLDERS for path in (REPOSITORY / name).rglob("*")))
    if path.suffix in {".py", ".md"} and path.is_file() and path != Path(__file__)
]


@pytest.mark.parametrize("habit", HABITS)
def test_no_text_falls_back_into_the_habit(habit: str) -> None:
    pattern, advice = re.compile(HABITS[habit][0], re.IGNORECASE), HABITS[habit][1]
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {advice}"
        for path in TEXTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line) or (line.startswith("def test_") and pattern.search(line.replace("_", " ")))
    ]
    assert found == []
