"""Expand path patterns, in a folder of the host or in the tree of a stage."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from sifmake.definition.patterns import NamePattern, PatternError, expand_braces, has_pattern, unescaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LONG = 100
"""Characters of a pattern that cost as much as reading a name."""
_SLASH = re.compile(r"(?<!\\)/")
_VARIABLE = re.compile(r"\\.|\$[A-Za-z0-9_({@*#?$!-]|`", re.DOTALL)


class Folders(Protocol):
    """A tree of folders in which names are looked up."""

    def names(self, path: str) -> list[str] | None:
        """Return the names in a folder, following links; None if there is no readable folder."""

    def exists(self, path: str) -> bool:
        """Tell whether there is something at a path; a link counts, even if it is broken."""

    def is_link(self, path: str) -> bool:
        """Tell whether there is a link at a path."""


def expand_paths(pattern: str, folders: Folders, spend: Callable[[int], None]) -> list[str]:
    """Return the paths that a pattern matches, sorted; a pattern without matches is returned itself.

    Args:
        pattern: Relative or absolute.
        folders: Where to look.
        spend: Called with the number of names read; raises if there are too many.

    Raises:
        PatternError: The pattern has a variable or a command, or matches too much.
    """
    for match in _VARIABLE.finditer(pattern):
        if not match[0].startswith("\\"):
            raise PatternError("shell variables and commands are not expanded here; write \\ before it")
    walk = _Walk(folders, spend)
    found: list[str] = []
    for word in filter(None, expand_braces(pattern)):
        paths = sorted(walk.paths(word)) if has_pattern(word) else []
        found += paths or [unescaped(word)]
    return found


class _Walk:
    """Follows the parts of a pattern through folders."""

    def __init__(self, folders: Folders, spend: Callable[[int], None]) -> None:
        self._folders = folders
        self._spend = spend

    def paths(self, word: str) -> list[str]:
        parts = _SLASH.split(word)
        found = [""]
        if parts[0] == "" and len(parts) > 1:
            found, parts = ["/"], parts[1:]
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if not part:
                if last:
                    found = [path + "/" for path in found if self._folders.names(path) is not None]
            elif part == "**":
                found = [below for path in found for below in self._below(path, folders=not last)]
            elif has_pattern(part):
                found = [match for path in found for match in self._matches(path, NamePattern(part))]
            else:
                found = [_joined(path, unescaped(part)) for path in found]
                found = [path for path in found if self._folders.exists(path)]
        return found

    def _names(self, path: str) -> list[str]:
        names = self._folders.names(path or ".") or []
        self._spend(len(names) + 1)
        return names

    def _matches(self, path: str, pattern: NamePattern) -> Iterator[str]:
        names = self._names(path)
        self._spend(len(names) * (len(pattern.text) // _LONG))
        for name in names:
            if pattern.matches(name):
                yield _joined(path, name)

    def _below(self, top: str, *, folders: bool) -> Iterator[str]:
        """Yield a folder and everything below it that is not hidden, without following links to folders."""
        stack = [top]
        while stack:
            path = stack.pop()
            if path or folders:
                yield path if path != top or folders or path.endswith("/") else path + "/"
            if path != top and self._folders.is_link(path):
                continue
            inside = [_joined(path, name) for name in self._names(path) if not name.startswith(".")]
            if folders:
                inside = [name for name in inside if self._is_folder(name)]
            stack += sorted(inside, reverse=True)

    def _is_folder(self, path: str) -> bool:
        return not self._folders.is_link(path) and self._folders.names(path) is not None


def _joined(folder: str, name: str) -> str:
    return folder + name if not folder or folder.endswith("/") else f"{folder}/{name}"
