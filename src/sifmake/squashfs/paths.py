"""Naming the places of a tree for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode


def shown_path(path: bytes) -> str:
    """Return a path as text, absolute, with bytes that are no UTF-8 escaped."""
    return "/" + path.decode("utf-8", "backslashreplace")


def first_path(tree: Tree, matches: Callable[[Inode], bool]) -> str:
    """Return, readable, the first path in the tree's order whose inode matches."""
    return shown_path(next(path for path, inode in tree.walk() if matches(inode)))
