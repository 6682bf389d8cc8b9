"""The first pass over a tree: the order, numbers and links of its inodes, and what cannot be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import SquashfsError
from sifmake.layers.entry import DIR
from sifmake.squashfs.limits import check_inodes, check_names, check_owners, check_xattrs, clamped_times
from sifmake.squashfs.paths import join, shown_path
from sifmake.squashfs.xattrs import dropped_xattrs

if TYPE_CHECKING:
    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode


class Directory(NamedTuple):
    """A directory that is to be written.

    Attributes:
        inode: The directory itself.
        parent: The one above; None of the root.
        names: Names in it in the order of their bytes.
        subdirectories: How many of its children are directories.
    """

    inode: Inode
    parent: Inode | None
    names: list[bytes]
    subdirectories: int


@dataclass(frozen=True)
class Survey:
    """What the first pass found.

    Attributes:
        directories: All of them, parents before children.
        inodes: All of them by number, from number 1 on.
        ids: Numeric owners and groups in use, ascending.
        warnings: What cannot be kept as it is, for the user.
    """

    directories: list[Directory]
    inodes: list[Inode]
    ids: list[int]
    warnings: tuple[str, ...]


def check_tree(tree: Tree) -> tuple[str, ...]:
    """Check that a tree fits into squashfs 4.0 and return the warnings that building it will give.

    Raises:
        SquashfsError: It does not fit; the error names the path.
    """
    return survey_tree(tree).warnings


def survey_tree(tree: Tree) -> Survey:
    """Give every inode its number and its count of links, and check all limits.

    Children of one directory have numbers in a row, so that one directory header serves as many as it can.

    Raises:
        SquashfsError: The tree does not fit into squashfs 4.0; the error names the path.
    """
    directories, inodes = _number(tree.root)
    check_inodes(tree, inodes)
    ids = check_owners(tree, inodes)
    check_xattrs(tree, inodes)
    return Survey(directories, inodes, ids, clamped_times(tree, inodes) + dropped_xattrs(tree, inodes))


def _number(root: Inode) -> tuple[list[Directory], list[Inode]]:
    directories, found = _walk(root)
    inodes = list({id(inode): inode for inode in found}.values())
    for number, inode in enumerate(inodes, 1):
        inode.number = number
        inode.links = 1
        inode.ref = -1
    if len(inodes) < len(found):
        _count_links(found)
    for directory in directories:
        directory.inode.links = 2 + directory.subdirectories
    return directories, inodes


def _walk(root: Inode) -> tuple[list[Directory], list[Inode]]:
    """Return all directories and, behind the root, what stands under each of their names, hard links repeated."""
    found = [root]
    directories = []
    stack: list[tuple[bytes, Inode, Inode | None]] = [(b"", root, None)]
    seen = {id(root)}
    while stack:
        path, inode, parent = stack.pop()
        children = inode.children or {}
        names = sorted(children)
        check_names(path, names)
        found += [children[name] for name in names]
        below = [(join(path, name), children[name], inode) for name in reversed(names) if children[name].kind == DIR]
        directories.append(Directory(inode, parent, names, len(below)))
        for where, child, _ in below:
            if id(child) in seen:
                raise SquashfsError("a directory stands under two names", where=shown_path(where))
            seen.add(id(child))
        stack += below
    return directories, found


def _count_links(found: list[Inode]) -> None:
    for inode in found:
        inode.links = 0
    for inode in found:
        inode.links += 1
