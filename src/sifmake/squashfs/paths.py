"""Readable names for the places in a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode


def shown_path(path: bytes) -> str:
    """Return a path as text, absolute, with bytes that are not UTF-8 escaped."""
    return "/" + path.decode("utf-8", "backslashreplace")


def first_path(tree: Tree, matches: Callable[[Inode], bool]) -> str:
    """Return, as text, the first path in the tree's order whose inode matches."""
    return shown_path(next(path for path, inode in tree.walk() if matches(inode)))
