"""The tree of an image: inodes by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sifmake.layers.entry import DIR, SYMLINK, Inode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_At = TypeVar("_At")

MAX_LINKS = 40
"""Most symlinks to follow in one path; more are a loop, as in Linux."""


_STEPS_OF_A_LINK = 6
"""Looking a name up takes a sixth of the time."""


def join(path: bytes, name: bytes) -> bytes:
    """Return the path of a name in a directory."""
    return path + b"/" + name if path else name


def parts_of(path: bytes) -> list[bytes]:
    """Return the components of a path, the last one first."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]


def follow(
    path: bytes, root: _At, child: Callable[[_At, bytes], _At], link: Callable[[_At], bytes | None], most: int
) -> _At | None:
    """Follow a path and the symlinks on it, which never lead out of the root; None if there are too many.

    Args:
        path: The path.
        root: Where it begins.
        child: Returns what a name in a folder stands for.
        link: Returns the target of a symlink; None for anything else.
        most: Most symlinks to follow.
    """
    above = [root]
    todo = parts_of(path)
    while todo:
        part = todo.pop()
        if part == b"..":
            del above[max(1, len(above) - 1) :]
            continue
        at = child(above[-1], part)
        target = link(at)
        if target is None:
            above.append(at)
            continue
        most -= 1
        if most < 0:
            return None
        if target.startswith(b"/"):
            del above[1:]
        todo += parts_of(target)
    return above[-1]


def new_directory(path: bytes, *, mtime: int, layer: int = 0) -> Inode:
    """Return an empty directory as unpackers create it if no tar entry describes it: mode 0755, owner root."""
    return Inode(path, DIR, 0o755, 0, 0, mtime, layer=layer, children={})


class Tree:
    """A root directory and everything below it.

    Attributes:
        root: The directory ``/``.
        steps: Folders and parts of links that paths have passed through so far.
    """

    def __init__(self, root: Inode | None = None) -> None:
        self.root = root if root is not None else new_directory(b"", mtime=0)
        self.steps = 0

    def resolve(self, path: bytes, *, follow_last: bool = True) -> Inode | None:
        """Return the inode at a path, following symlinks inside the root; None if there is none.

        ``..`` and absolute links never leave the root; a loop gives None.
        """
        stack = [self.root]
        todo = [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
        self.steps += len(todo)
        followed = 0
        while todo:
            part = todo.pop()
            here = stack[-1].children
            if here is None:
                return None
            if part == b"..":
                if len(stack) > 1:
                    stack.pop()
                continue
            child = here.get(part)
            if child is None:
                return None
            if child.kind == SYMLINK and (todo or follow_last):
                followed += 1
                if followed > MAX_LINKS:
                    return None
                if child.target.startswith(b"/"):
                    del stack[1:]
                self.count_link(child.target)
                todo += parts_of(child.target)
                continue
            stack.append(child)
        return stack[-1]

    def count_link(self, target: bytes) -> None:
        """Count what following a symlink takes, ``.`` and empty parts of its target included."""
        self.steps += _STEPS_OF_A_LINK + target.count(b"/")

    def walk(self) -> Iterator[tuple[bytes, Inode]]:
        """Yield (path, inode) of everything, sorted, parents first, starting with the root as ``b""``."""
        stack: list[tuple[bytes, Inode]] = [(b"", self.root)]
        while stack:
            path, inode = stack.pop()
            yield path, inode
            if inode.children:
                prefix = path + b"/" if path else b""
                stack.extend((prefix + name, inode.children[name]) for name in sorted(inode.children, reverse=True))
