"""The files of a stage that its layers do not give, sifmake's own, as entries of one more layer."""

from __future__ import annotations

from heapq import merge as merge_sorted
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from sifmake.flatten.flattened import merge
from sifmake.layers.entry import DIR, FILE, HARDLINK, WHITEOUT, Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode
    from sifmake.limits import Limits
    from sifmake.steps.stage_tree import StageTree


def own_files(tree: StageTree, limits: Limits) -> Iterator[tuple[Entry, Iterable[bytes]]]:
    """Yield the entries of a layer that makes this tree of the tree of its layers, with the bytes of files.

    Args:
        tree: The tree of a stage.
        limits: As for :func:`~sifmake.flatten.flattened.merge`.

    Raises:
        SifmakeError: The layers cannot be merged.
    """
    below = merge(tree.packs, tree.epoch, limits).tree
    names: dict[int, bytes] = {}
    gone = b"/"  # no path begins with it
    for path, old, new in _joined(below, tree.tree):
        if old is not None and old.kind == DIR and (new is None or new.kind != DIR):
            gone = path + b"/" if not path.startswith(gone) else gone
        if new is None:
            if not path.startswith(gone) or path + b"/" == gone:
                yield Entry(path, WHITEOUT, 0, 0, 0, tree.epoch), ()
        elif old is None or _facts(old) != _facts(new):
            first = names.setdefault(id(new), path) if new.kind == FILE else path
            yield _entry(path, new, first), map(bytes, tree.pieces(new)) if new.kind == FILE else ()


def _joined(below: Tree, above: Tree) -> Iterator[tuple[bytes, Inode | None, Inode | None]]:
    """Yield the paths of two trees in the order of a walk, with what is there in each of them."""
    first = ((path, False, inode) for path, inode in below.walk())
    second = ((path, True, inode) for path, inode in above.walk())
    rows = merge_sorted(first, second, key=lambda row: row[0].split(b"/"))
    for path, group in groupby(rows, key=itemgetter(0)):
        found = {is_above: inode for _, is_above, inode in group}
        yield path, found.get(False), found.get(True)


def _entry(path: bytes, inode: Inode, first: bytes) -> Entry:
    """Return the entry of an inode at a path; if it has another name already, a hard link to that."""
    kind, target = (inode.kind, inode.target) if first == path else (HARDLINK, first)
    owner = (inode.mode, inode.uid, inode.gid, inode.mtime)
    return Entry(path, kind, *owner, inode.size, -1, target, inode.major, inode.minor, inode.xattrs)


def _facts(inode: Inode) -> tuple[object, ...]:
    """Return everything that a layer says about a file; its content by its place in a pack."""
    place = (inode.layer, inode.content) if inode.content >= 0 else ()
    own = (inode.kind, inode.mode, inode.uid, inode.gid, inode.mtime, inode.size)
    return (*own, inode.target, inode.major, inode.minor, inode.xattrs, *place)
