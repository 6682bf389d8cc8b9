"""One rule for what is private: a name that only its own file uses begins with an underscore; no other does."""

from __future__ import annotations

import pytest

from support.house import Module, modules, reached_into, unmarked


@pytest.fixture(scope="module")
def known() -> dict[str, Module]:
    return modules()


def test_what_only_its_own_file_uses_is_marked(known: dict[str, Module]) -> None:
    assert unmarked(known) == []


def test_no_file_reaches_into_another(known: dict[str, Module]) -> None:
    assert reached_into(known) == []
