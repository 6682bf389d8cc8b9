"""The first pass over a tree: the order, numbers and links of its inodes, and what cannot be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import SquashfsError
from sifmake.layers.entry import DIR
from sifmake.squashfs.limits import check_inodes, check_names, check_owners, check_xattrs, clamped_times
from sifmake.squashfs.paths import join, show
from sifmake.squashfs.xattrs import dropped_xattrs

if TYPE_CHECKING:
    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode


class Directory(NamedTuple):
    """A directory that is to be written.

    Attributes:
        path: Where it stands, without a leading slash.
        inode: The directory itself.
        parent: Inode number of the one above; of the root, as mksquashfs has it, one more than there are inodes.
        names: Names in it in the order of their bytes.
    """

    path: bytes
    inode: Inode
    parent: int
    names: list[bytes]


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
    root.number, root.ref = 1, -1
    inodes = [root]
    seen = {id(root)}
    directories = []
    stack = [(b"", root, 0)]
    while stack:
        path, inode, parent = stack.pop()
        children = inode.children or {}
        names = sorted(children)
        check_names(path, names)
        directories.append(Directory(path, inode, parent, names))
        below = _number_children(path, children, names, inodes, seen)
        inode.links = 2 + len(below)
        number = inode.number
        stack += [(join(path, name), children[name], number) for name in reversed(below)]
    directories[0] = directories[0]._replace(parent=len(inodes) + 1)
    return directories, inodes


def _number_children(
    path: bytes, children: dict[bytes, Inode], names: list[bytes], inodes: list[Inode], seen: set[int]
) -> list[bytes]:
    """Number the inodes not seen before and return the names of directories."""
    below = []
    number = len(inodes)
    for name in names:
        child = children[name]
        key = id(child)
        if key in seen:
            if child.kind == DIR:
                raise SquashfsError("a directory stands under two names", where=show(join(path, name)))
            child.links += 1
            continue
        seen.add(key)
        number += 1
        child.number = number
        child.links = 1
        child.ref = -1
        inodes.append(child)
        if child.kind == DIR:
            below.append(name)
    return below
