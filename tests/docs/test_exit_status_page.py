"""The page on exit statuses has every status that the code ends with."""

from __future__ import annotations

import re

from sifmake import errors
from sifmake.signing import Verdict
from support.project import REPOSITORY

SOURCE = (REPOSITORY / "src/sifmake/cli/rebuild_command.py").read_text()


def test_every_status_is_on_the_page() -> None:
    page = (REPOSITORY / "docs/reference/exit-status.md").read_text()
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {code for value in classes if isinstance(code := getattr(value, "exit_code", 0), int)}
    codes |= {int(verdict) for verdict in Verdict}
    codes |= {int(number) for number in re.findall(r"^_?[A-Z]+ = (\d+)$", SOURCE, flags=re.MULTILINE)}
    assert {0, 1, 2, 10, 13, 75} <= codes
    assert sorted(code for code in codes if not re.search(rf"^\| {code} \|", page, flags=re.MULTILINE)) == []
