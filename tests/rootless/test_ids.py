"""Which ids the system grants."""

from __future__ import annotations

import os
import pwd

import pytest

from sifmake.rootless import ids
from sifmake.rootless.errors import RootlessError
from sifmake.rootless.ids import Range, granted_map, mapped_words

NAME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def grant(tmp_path, monkeypatch):
    def write(users, groups):
        for name, text in (("u", users), ("g", groups)):
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(ids, "_FILES", (str(tmp_path / "u"), str(tmp_path / "g")))

    return write


@pytest.mark.parametrize(("lines", "ranges"), [
    (f"{NAME}:100000:65536\n", [(1, 100_000, 65_535)]),
    (f"{os.getuid()}:100000:10\nother:5:5\n{NAME}:300000:70000", [(1, 100_000, 10), (11, 300_000, 65_525)]),
    (f"{NAME}:1:2:3\n{NAME}:x:5\n{NAME}\n\n{NAME}:7:8\n", [(1, 7, 8)]),
    (f"{NAME}:5:0\n", []),
    ("other:100000:65536\n", []),
])  # fmt: skip
def test_lines_are_read(grant, lines, ranges):
    grant(lines, f"{NAME}:1:9\n")
    found = granted_map(os.getuid(), 7)
    if not ranges:
        assert found is None
        return
    assert found.users == (Range(0, os.getuid(), 1), *(Range(*one) for one in ranges))
    assert found.groups == (Range(0, 7, 1), Range(1, 1, 9))


def test_without_lines_for_groups_there_are_none(grant):
    grant(f"{NAME}:100000:65536\n", "")
    assert granted_map(os.getuid(), 0) is None
    with pytest.raises(RootlessError, match="usermod --add-subuids"):
        mapped_words("subuid")


def test_words_are_those_of_newuidmap(grant):
    grant(f"{NAME}:100000:65536\n", f"{NAME}:200000:65536\n")
    users, groups = mapped_words("subuid")
    assert users == [["0", str(os.geteuid()), "1"], ["1", "100000", "65535"]]
    assert groups == [["0", str(os.getegid()), "1"], ["1", "200000", "65535"]]
    assert mapped_words("root") == ([], [])
    assert mapped_words("single") == ([["0", str(os.geteuid()), "1"]], [["0", str(os.getegid()), "1"]])
