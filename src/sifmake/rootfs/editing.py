"""Add files to a tree as a program inside the image's root would, but without following misleading links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import SourceError
from sifmake.flatten.tree import MAX_LINKS, follow, join, new_directory
from sifmake.layers.entry import DIR, FILE, SYMLINK, Inode

if TYPE_CHECKING:
    from sifmake.flatten.tree import Tree


class Editor:
    """Changes one tree.

    A directory gets the time stamp ``epoch`` when a name is added to it, and otherwise keeps its own.

    Attributes:
        tree: What is changed.
        files: New regular files that are not empty, with their bytes.
    """

    def __init__(self, tree: Tree, epoch: int) -> None:
        self.tree = tree
        self.files: list[tuple[Inode, bytes]] = []
        self._epoch = epoch

    def directory(self, path: bytes) -> Inode:
        """Return the directory at a path, following symlinks inside the root; create missing ones with mode 0755.

        Raises:
            SourceError: Something other than a directory is in the way, or symlinks form a loop.
        """

        def child(folder: Inode, name: bytes) -> Inode:
            found = self._children(folder, path).get(name)
            if found is None:
                found = new_directory(join(folder.path, name), mtime=self._epoch)
                self._add(folder, name, found)
            return found

        found = follow(path, self.tree.root, child, _target, MAX_LINKS)
        if found is None:
            raise _in_the_way(path, "a loop of symlinks is")
        self._children(found, path)
        return found

    def mount_point(self, path: bytes) -> bool:
        """Create a directory unless the name exists; return whether the name exists at the end."""
        folder, _, name = path.rpartition(b"/")
        if self.tree.resolve(path, follow_last=False) is None:
            try:
                parent = self.directory(folder)
            except SourceError:
                return False
            if name not in self._children(parent, path):
                self._add(parent, name, new_directory(path, mtime=self._epoch))
        return True

    def link(self, name: bytes, target: bytes) -> None:
        """Create a symlink; replace a symlink with another target, keep anything else of that name."""
        old = self._children(self.tree.root, b"").get(name)
        if old is None or (old.kind == SYMLINK and old.target != target):
            self._add(self.tree.root, name, Inode(name, SYMLINK, 0o777, 0, 0, self._epoch, target=target, layer=-1))

    def write(self, path: bytes, data: bytes, mode: int, *, keep_mode: bool = False) -> None:
        """Put a regular file at a path; it keeps the owner of an older file, and replaces a symlink, not its target.

        Args:
            path: Its folder is created if missing.
            data: The new content.
            mode: Permission bits.
            keep_mode: Keep the mode of an older file, too.

        Raises:
            SourceError: A directory has that name, or the folder cannot be created.
        """
        folder, _, name = path.rpartition(b"/")
        parent = self.directory(folder)
        old = self._children(parent, path).get(name)
        inode = Inode(path, FILE, mode, 0, 0, self._epoch, size=len(data), layer=-1)
        if old is not None and old.kind == DIR:
            raise _in_the_way(path, "a directory is")
        if old is not None and old.kind == FILE:
            inode.uid, inode.gid = old.uid, old.gid
            inode.mode = old.mode if keep_mode else mode
        self._add(parent, name, inode)
        if data:
            self.files.append((inode, data))

    def move(self, folder: bytes, name: bytes, to: bytes, new_name: bytes) -> None:
        """Move a name from one directory to a free name in another."""
        source, target = self.directory(folder), self.directory(to)
        self._add(target, new_name, self._children(source, folder).pop(name))
        source.mtime = self._epoch

    def _add(self, parent: Inode, name: bytes, inode: Inode) -> None:
        children = self._children(parent, name)
        old = children.get(name)
        if old is None:
            parent.mtime = self._epoch
        elif old.kind == FILE and old.links:
            old.links -= 1
        children[name] = inode

    def _children(self, inode: Inode, path: bytes) -> dict[bytes, Inode]:
        if inode.children is None:
            raise _in_the_way(path, "something that is not a directory is")
        return inode.children


def _target(inode: Inode) -> bytes | None:
    return inode.target if inode.kind == SYMLINK else None


def _in_the_way(path: bytes, what: str) -> SourceError:
    return SourceError(
        f"{what} in the way of /{path.decode('ascii', 'backslashreplace')}",
        hint="remove it from the image, because a SIF file needs this path",
    )
