"""Every decision has a date and a status, and is in the index."""

from __future__ import annotations

import re

import pytest

from support.project import REPOSITORY

RECORDS = sorted((REPOSITORY / "docs/adr").glob("[0-9]*.md"))
INDEX = (REPOSITORY / "docs/adr/README.md").read_text()


def test_numbers_follow_each_other() -> None:
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name)
def test_a_record_is_dated_and_in_the_index(path) -> None:
    text = path.read_text()
    heading = re.match(r"# (\d+)\. (.+)\n\nStatus: (accepted|superseded by \d+)\. Date: (\d{4}-\d\d-\d\d)\n", text)
    assert heading is not None
    number, title, status, date = heading.groups()
    assert int(number) == int(path.name[:4])
    assert f"| {number} | [{title}]({path.name}) | {date} | {status} |" in INDEX
