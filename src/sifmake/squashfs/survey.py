"""The first pass over a tree: the order, numbers and links of its inodes, and what squashfs cannot store."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sifmake.errors import SquashfsError
from sifmake.flatten.tree import join
from sifmake.layers.entry import DIR
from sifmake.squashfs.limits import check_inodes, check_names, check_owners, check_xattrs, clamped_times
from sifmake.squashfs.paths import shown_path
from sifmake.squashfs.xattrs import dropped_xattrs

if TYPE_CHECKING:
    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode


class Directory(NamedTuple):
    """A directory to write.

    Attributes:
        inode: The directory itself.
        parent: The parent directory; None for the root.
        names: Names in it in the order of their bytes.
        subdirectories: How many of its children are directories.
        first: Number of the first inode that has its only or first name here; those that follow count from it.
    """

    inode: Inode
    parent: Inode | None
    names: list[bytes]
    subdirectories: int
    first: int


class Survey(msgspec.Struct, frozen=True):
    """The result of the first pass.

    Attributes:
        directories: All of them, parents before children.
        inode_count: Count of inodes; their numbers begin with 1.
        ids: Numeric owners and groups in use, ascending.
        warnings: What squashfs cannot store unchanged, for the user.
    """

    directories: list[Directory]
    inode_count: int
    ids: list[int]
    warnings: tuple[str, ...]


def check_tree(tree: Tree) -> tuple[str, ...]:
    """Check that a tree fits into squashfs 4.0 and return the warnings that building it will give.

    Raises:
        SquashfsError: It does not fit; the error names the path.
    """
    return survey_tree(tree).warnings


def survey_tree(tree: Tree) -> Survey:
    """Number the inodes, count their links, and check all limits.

    Children of one directory have consecutive numbers, so that one directory header serves as many as possible. Inodes
    with one name that are not directories do not get their number here: it follows from the place of the name.

    Raises:
        SquashfsError: The tree does not fit into squashfs 4.0; the error names the path.
    """
    walked, found = _walk(tree.root)
    _count_links(found)
    directories, inode_count = _number(walked)
    check_inodes(tree, found)
    ids = check_owners(tree, found)
    check_xattrs(tree, found)
    return Survey(directories, inode_count, ids, clamped_times(tree, found) + dropped_xattrs(tree, found))


_SEEN = -1
"""Number of a directory that the walk has reached; a set of a million identities would take 90 MB instead."""
_NOTHING: list[bytes] = []
"""The names in an empty directory, shared by all of them."""

_LINKS = attrgetter("links")

_Walked = tuple["Inode", "Inode | None", list[bytes], int]
"""The fields of :class:`Directory` except the number."""


def _walk(root: Inode) -> tuple[list[_Walked], list[Inode]]:
    """Return all directories and the inodes of all names, root first, with hard links repeated."""
    found = [root]
    directories: list[_Walked] = []
    stack: list[tuple[bytes, Inode, Inode | None]] = [(b"", root, None)]
    root.number = _SEEN
    while stack:
        path, inode, parent = stack.pop()
        children = inode.children or {}
        names = sorted(children) if children else _NOTHING
        check_names(path, names)
        found += [children[name] for name in names]
        below = [(join(path, name), children[name], inode) for name in reversed(names) if children[name].kind == DIR]
        directories.append((inode, parent, names, len(below)))
        for where, child, _ in below:
            if child.number == _SEEN:
                raise SquashfsError("a directory has two names", where=shown_path(where))
            child.number = _SEEN
        stack += below
    return directories, found


def _count_links(found: list[Inode]) -> None:
    for inode in found:
        inode.links = 0
    for inode in found:
        inode.links += 1
        inode.number = 0


def _number(walked: list[_Walked]) -> tuple[list[Directory], int]:
    """Return the directories, each with the number of the first inode in it, and the count of inodes."""
    walked[0][0].number = number = 1
    directories = []
    for inode, parent, names, subdirectories in walked:
        first = number + 1
        children = inode.children or {}
        if subdirectories or max(map(_LINKS, children.values()), default=1) > 1:
            number = _number_children(children, names, number)
        else:  # numbers that follow from the places of names
            number += len(names)
        directories.append(Directory(inode, parent, names, subdirectories, first))
        inode.links = 2 + subdirectories
    return directories, number


def _number_children(children: dict[bytes, Inode], names: list[bytes], number: int) -> int:
    """Number the inodes that have their only or first name in a directory, after ``number``; return the last number."""
    for name in names:
        child = children[name]
        if child.number:
            continue
        number += 1
        if child.links > 1 or child.kind == DIR:
            child.number = number
    return number
