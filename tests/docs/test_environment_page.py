"""The page on environment variables has every variable that the source reads."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from sifmake.cli.running_options import all_rows
from support.project import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = REPOSITORY / "docs/reference/environment.md"
PREFIXES = (
    "SIFMAKE",
    "APPTAINER",
    "SINGULARITY",
    "DOCKER",
    "CONTAINERS?",
    "REGISTRY",
    "XDG",
    "SSL",
    "CURL",
    "REQUESTS",
)
NAME = re.compile(rf"(?:{'|'.join(PREFIXES)})_[A-Z_]*[A-Z]")


def names_in_source() -> set[str]:
    found: set[str] = set()
    for path in (REPOSITORY / "src/sifmake").rglob("*.py"):
        found |= set(names_in(ast.parse(path.read_text())))
    return found


def names_in(tree: ast.Module) -> Iterator[str]:
    """Yield constants that have the form of a variable, and every key that an environment is asked for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
            yield node.value
        elif isinstance(node, ast.Subscript) and "environ" in ast.unparse(node.value):
            yield from constant(node.slice)
        elif isinstance(node, ast.Call) and "environ" in ast.unparse(node.func) and node.args:
            yield from constant(node.args[0])


def constant(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isupper():
        yield node.value


def test_every_variable_of_the_source_is_on_the_page() -> None:
    found = names_in_source()
    assert {"SIFMAKE_CACHE", "CI", "HOME", "TERM", "DOCKER_HOST"} <= found
    assert sorted(name for name in found if f"`{name}`" not in PAGE.read_text()) == []


def test_every_variable_of_an_option_is_on_the_page() -> None:
    rows = {row for action in ("run", "exec", "shell", "test") for row in all_rows(action)}
    words = {word for row in rows for word in row[3].split()}
    assert len(words) > 60
    assert sorted(word for word in words if f"`{word}`" not in PAGE.read_text()) == []


def test_the_page_names_no_variable_of_ours_that_nothing_reads() -> None:
    ours = set(re.findall(r"`(SIFMAKE_[A-Z_]+)`", PAGE.read_text()))
    source = "\n".join(path.read_text() for path in (REPOSITORY / "src/sifmake").rglob("*.py"))
    assert sorted(name for name in ours if name not in source) == []
