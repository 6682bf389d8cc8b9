"""Merging the entries of layers into one tree (OCI image spec, layer.md; docs/adr for where it is silent)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from sifmake.errors import FlattenError, LimitError
from sifmake.flatten.tree import MAX_LINKS, Tree, new_directory, parts_of
from sifmake.layers.entry import DIR, HARDLINK, OPAQUE, SYMLINK, WHITEOUT, Inode
from sifmake.layers.image_budget import too_many_steps
from sifmake.layers.tar_paths import AUFS_PREFIX
from sifmake.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.limits import Limits

_Directory = dict[bytes, Inode]
_BELOW_AUFS = b"/" + AUFS_PREFIX
_STEPS_OF_AN_ENTRY = 20
_MOST_WARNINGS = 20
"""Per layer."""
_MANY = 10_000
"""Entries from which on equal times and owners become one object: each takes 32 bytes."""
_MOST_NUMBERS = 50_000
"""Different ones that are remembered for that, and those of ``_TOGETHER`` entries more."""
_TOGETHER = 4096
_ALWAYS_SHARED = 256
"""Largest number of which Python has only one object."""


class Merger:
    """A tree to which layers are applied, lowest first.

    Attributes:
        tree: The tree so far.
        warnings: Warnings about the layer that was applied last.
    """

    def __init__(self, epoch: int, limits: Limits = DEFAULT_LIMITS) -> None:
        """Start with an empty root.

        Args:
            epoch: Time stamp, in seconds, of directories that no tar entry describes.
            limits: Provides ``implied_folders`` and ``path_steps``.
        """
        self._limits = limits
        self._implied = 0
        self._steps = limits.path_steps
        self.tree = Tree(new_directory(b"", mtime=epoch))
        self._epoch = epoch
        self._layer = 0
        self._folder = b""
        self._children: _Directory = _children(self.tree.root)
        self._aside: dict[bytes, Inode] = {}
        self._hidden: dict[bytes, Inode] = {}
        self.warnings: list[str] = []
        self._entries = 0
        self._numbers: dict[int, int] = {}

    def apply(self, entries: Sequence[Inode], layer: int) -> None:
        """Put one layer over the tree; the entries become its inodes.

        Whiteouts apply to lower layers only, wherever they are in this layer.

        Raises:
            FlattenError: An entry cannot be placed; ``where`` names its path.
            LimitError: Paths pass through too many folders, or through too many that no entry describes.
        """
        self._layer = layer
        self._steps += _STEPS_OF_AN_ENTRY * len(entries)
        self._entries += len(entries)
        if self._entries > _MANY:
            self._share_numbers(entries)
        self._aside, self._hidden, self.warnings = {}, {}, []
        self._hide(entries)
        self._forget()
        late = {entry.path: entry for entry in entries if entry.kind < WHITEOUT and not self._place(entry)}
        # Links that come before their targets, last one first, because a target may itself be such a link.
        waiting = [entry for entry in reversed(late.values()) if not self._place(entry)]
        for entry in reversed(waiting):
            if not self._place(entry):
                raise FlattenError(
                    f"hard link to {ascii(entry.target)[2:-1]!r}, which does not exist",
                    where=ascii(entry.path)[2:-1],
                    hint="the layer is damaged; rebuild the image, or ask its owner to do so",
                )

    def _share_numbers(self, entries: Sequence[Inode]) -> None:
        known, left = self._numbers, iter(entries)
        while some := list(islice(left, _TOGETHER)):
            find = known.setdefault if len(known) < _MOST_NUMBERS else known.get
            for entry in some:
                entry.mtime = find(time := entry.mtime, time)
            for entry in [entry for entry in some if entry.uid > _ALWAYS_SHARED or entry.gid > _ALWAYS_SHARED]:
                entry.uid, entry.gid = find(entry.uid, entry.uid), find(entry.gid, entry.gid)

    def _hide(self, entries: Sequence[Inode]) -> None:
        markers = [entry for entry in entries if entry.kind >= WHITEOUT]
        if not markers:
            return
        declared = {entry.path for entry in entries if entry.kind < WHITEOUT and entry.kind != SYMLINK}
        found: dict[bytes, _Directory | None] = {}
        for entry in markers:
            parent, _, name = entry.path.rpartition(b"/")
            if entry.kind == OPAQUE:
                parent = entry.path
            if parent not in found:
                found[parent] = self._lower_directory(parent, declared)
            folder = found[parent]
            if folder is None:
                continue
            if entry.kind == OPAQUE:
                prefix = parent + b"/" if parent else b""
                self._hidden |= {prefix + child: inode for child, inode in folder.items()}
                folder.clear()
            elif name in folder:
                self._hidden[entry.path] = folder.pop(name)

    def _lower_directory(self, path: bytes, declared: set[bytes]) -> _Directory | None:
        """Find a directory of the lower layers, following symlinks unless this layer replaces them."""
        at = b""
        for part in path.split(b"/") if path else ():
            at = at + b"/" + part if at else part
            self._check_steps()
            inode = self.tree.resolve(at, follow_last=False)
            if inode is None or (inode.kind == SYMLINK and at in declared):
                return None
        found = self.tree.resolve(path)
        return found.children if found is not None else None

    def _place(self, entry: Inode) -> bool:
        """Place an entry under its name; return False if it is a hard link without a target."""
        path = entry.path
        folder, _, name = path.rpartition(b"/")
        if not name:
            self._place_root(entry)
            return True
        # With ``in``, Python first tries to take bytes for a number, and makes an exception for each entry.
        if path.find(AUFS_PREFIX) >= 0 and (path.startswith(AUFS_PREFIX) or _BELOW_AUFS in path):
            if not path.startswith(AUFS_PREFIX):
                self._warn(f"left out {_shown(path)}: AUFS reserved such names")
            entry.layer = self._layer
            self._aside[path] = entry
            return True
        children = self._children if folder == self._folder else self._enter(folder)
        if entry.kind == HARDLINK:
            return self._link(entry, children, name)
        entry.layer = self._layer
        old = children.get(name)
        if entry.kind == DIR:
            if old is not None and old.kind == DIR:
                _describe(old, entry)
                return True
            entry.children = {}
        else:
            entry.path = name
        if old is not None and old.kind in (DIR, SYMLINK):
            self._forget()
        children[name] = entry
        return True

    def _place_root(self, entry: Inode) -> None:
        if entry.kind != DIR:
            raise FlattenError(
                "the root of the file system is not a directory", hint="the layer is hostile or damaged; it was refused"
            )
        _describe(self.tree.root, entry)

    def _link(self, entry: Inode, children: _Directory, name: bytes) -> bool:
        target = self._aside.get(entry.target)
        self._check_steps()
        if target is None:
            target = self.tree.resolve(entry.target, follow_last=False)
        if target is None:
            target = self._find_hidden(entry.target)
        if target is None:
            return False
        if target.kind == DIR:
            raise FlattenError(
                f"hard link to the directory {ascii(entry.target)[2:-1]!r}",
                where=ascii(entry.path)[2:-1],
                hint="the layer is hostile or damaged; it was refused",
            )
        old = children.get(name)
        if old is not None and old.kind in (DIR, SYMLINK):
            self._forget()
        children[name] = target
        target.links += 1
        return True

    def _find_hidden(self, path: bytes) -> Inode | None:
        """Find an inode that this layer's whiteouts removed, because a hard link to it is still valid."""
        at = path
        below: list[bytes] = []
        while at and at not in self._hidden:
            at, _, name = at.rpartition(b"/")
            below.append(name)
        inode = self._hidden.get(at)
        while below and inode is not None:
            inode = (inode.children or {}).get(below.pop())
        return inode

    def _forget(self) -> None:
        """Drop the remembered folder, because a directory or symlink on the way to it may have changed."""
        self._folder, self._children = b"", _children(self.tree.root)

    def _enter(self, folder: bytes) -> _Directory:
        """Return the directory at a path; create it, or replace what is there."""
        self._check_steps()
        inode = self._directory(folder)
        self._folder, self._children = folder, _children(inode)
        return self._children

    def _directory(self, folder: bytes) -> Inode:
        parts = folder.split(b"/") if folder else []
        if b".." in parts:
            raise FlattenError(
                "a path contains '..'", where=ascii(folder)[2:-1], hint="the layer is hostile or damaged"
            )
        self.tree.steps += len(parts)
        return self._existing(parts) or self._made(folder, parts)

    def _existing(self, parts: Sequence[bytes]) -> Inode | None:
        """Return the directory at a path that leads through directories only, as most paths do; None if another."""
        inode: Inode | None = self.tree.root
        for part in parts:
            if inode is None or inode.children is None:
                return None
            inode = inode.children.get(part)
        return inode if inode is not None and inode.children is not None else None

    def _made(self, folder: bytes, parts: Sequence[bytes]) -> Inode:
        """Return the directory at any path; see :meth:`_enter`."""
        stack, names = [self.tree.root], [b""]
        todo = list(reversed(parts))
        followed = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                del stack[max(1, len(stack) - 1) :], names[max(1, len(names) - 1) :]
                continue
            here = _children(stack[-1])
            child = here.get(part)
            if child is not None and child.kind == SYMLINK:
                followed += 1
                if followed > MAX_LINKS:
                    raise FlattenError(
                        "too many symbolic links on the way to a file",
                        where=ascii(folder)[2:-1],
                        hint="the layer is hostile or damaged",
                    )
                if child.target.startswith(b"/"):
                    del stack[1:], names[1:]
                parts = parts_of(child.target)
                self.tree.count_link(child.target)
                self._check_steps()
                todo += parts
                continue
            if child is None or child.kind != DIR:
                if child is not None:
                    path = b"/".join([*names[1:], part])
                    self._warn(f"{_shown(path)}, which is not a folder, is replaced by the folder {_shown(folder)}")
                self._count_implied()
                child = here[part] = new_directory(folder, mtime=self._epoch, layer=self._layer)
            stack.append(child)
            names.append(part)
        return stack[-1]

    def _check_steps(self) -> None:
        if self.tree.steps > self._steps:
            raise too_many_steps()

    def _count_implied(self) -> None:
        self._implied += 1
        if self._implied > self._limits.implied_folders:
            what = f"paths pass through more than {self._limits.implied_folders} folders that no layer describes"
            raise LimitError(f"{what} (a limit)", hint="raise implied-folders (limits: in sifmake.yaml)")

    def _warn(self, text: str) -> None:
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(text)
        elif len(self.warnings) == _MOST_WARNINGS:
            self.warnings.append("and more like these")


def _shown(path: bytes) -> str:
    return ascii(path)[2:-1]


def _children(directory: Inode) -> _Directory:
    assert directory.children is not None  # noqa: S101  # every inode of kind DIR in a tree has a dict
    return directory.children


def _describe(old: Inode, new: Inode) -> None:
    """Give a directory the owner, mode, time and attributes of a later entry with the same name."""
    old.mode, old.uid, old.gid, old.mtime, old.xattrs = new.mode, new.uid, new.gid, new.mtime, new.xattrs
