"""What was changed in a tree, as the upper folder of its overlay has it."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from typing import NamedTuple

from sifmake.rootless.errors import RootlessError
from sifmake.rootless.owners import NOTE, noted_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sifmake.rootless.work_tree import WorkTree

    FindOwner = Callable[[bytes, os.stat_result], tuple[int, int] | None]
    """Returns the owner that a path was given and could not have."""

_OVERLAY = ("trusted.overlay.", "user.overlay.")
_CAPABILITY = "security.capability"
_UNREADABLE = ("redirect", "metacopy")
_OURS = frozenset({b".post.script", b".post.before", b".post.after", b".build.labels"})
"""Names at the top of the tree that are never part of a layer."""
_LONGEST_PATH = 4095
"""Bytes that the kernel takes as a path."""


class Change(NamedTuple):
    """A path that is not what it was.

    Attributes:
        path: Without leading slash; empty for the top.
        status: Of what is there now; None where nothing is.
        owner: User and group.
        xattrs: Extended attributes, sorted.
        opaque: Whether nothing of a folder is seen that was below.
    """

    path: bytes
    status: os.stat_result | None = None
    owner: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    opaque: bool = False


class OverlayChanges:
    """Iterates over the changes in an upper folder, which becomes the current one.

    Folders come before what is in them, names in order. A folder that is as it was and holds no change is left out.
    """

    def __init__(self, tree: WorkTree, made: frozenset[bytes], leave_out: Sequence[str], find_owner: FindOwner) -> None:
        self._tree = tree
        self._find_owner = find_owner
        self._made = made
        self._left_out = re.compile("|".join(fnmatch.translate(one) for one in leave_out) or r"(?!)")
        self._pending: list[Change] = []

    def __iter__(self) -> Iterator[Change]:
        os.chdir(self._tree.upper)
        stack = [self._open(self._change(b"", os.stat(".")))]
        while stack:
            path = next(stack[-1], None)
            if path is None:
                stack.pop()
                yield from self._close()
                continue
            change = self._look(path)
            if change is None:
                continue
            if change.status and stat.S_ISDIR(change.status.st_mode):
                stack.append(self._open(change))
                continue
            yield from self._flush()
            yield change

    def _open(self, folder: Change) -> Iterator[bytes]:
        """Enter a folder, which is told as soon as something in it is; return what is in it."""
        self._pending.append(folder)
        above = folder.path + b"/" if folder.path else b""
        if len(above) > _LONGEST_PATH - 256:
            raise RootlessError("folders are nested too deep for a layer", where=os.fsdecode(above[:80]) + "...")
        return iter([above + name for name in sorted(os.listdir(folder.path or b"."))])

    def _close(self) -> Iterator[Change]:
        """Leave a folder; it is told if it has changed itself."""
        if self._pending:
            if self._is_news(self._pending[-1]):
                yield from self._flush()
            else:
                self._pending.pop()

    def _flush(self) -> Iterator[Change]:
        folders, self._pending = self._pending, []
        for folder in folders:
            if folder.path or self._is_news(folder):
                yield folder

    def _look(self, path: bytes) -> Change | None:
        """Return what is to be said about a path; None if nothing."""
        status = os.lstat(path)
        if stat.S_ISSOCK(status.st_mode) or path in _OURS or self._left_out.match(os.fsdecode(path)):
            return None
        if stat.S_ISCHR(status.st_mode) and not status.st_rdev:
            return Change(path)
        if path in self._made and not stat.S_ISDIR(status.st_mode):
            return None
        return self._change(path, status)

    def _change(self, path: bytes, status: os.stat_result) -> Change:
        names = os.listxattr(path or b".", follow_symlinks=False)
        values = {name: os.getxattr(path or b".", name, follow_symlinks=False) for name in sorted(names)}
        own = {name: value for name, value in values.items() if not name.startswith(_OVERLAY) and name != NOTE}
        for name in _UNREADABLE:
            if any(prefix + name in values for prefix in _OVERLAY):
                raise RootlessError(f"an overlay with {name} cannot be read", where=os.fsdecode(path))
        if _CAPABILITY in own:
            own[_CAPABILITY] = _plain_capability(own[_CAPABILITY])
        xattrs = tuple((os.fsencode(name), value) for name, value in own.items())
        owner = (status.st_uid, status.st_gid)
        if owner == (0, 0):  # what has a note looks like root's
            owner = noted_owner(values.get(NOTE)) or self._find_owner(path, status) or owner
        opaque = any(values.get(prefix + "opaque") == b"y" for prefix in _OVERLAY)
        if any(prefix + "whiteout" in values for prefix in _OVERLAY) and stat.S_ISREG(status.st_mode):
            return Change(path)
        return Change(path, status, owner, xattrs, opaque)

    def _is_news(self, folder: Change) -> bool:
        """Whether a folder is not what it was; of the top, its time does not count."""
        if folder.path in self._made:
            return False
        status, before = folder.status, self._before(folder.path)
        if not status or not before or folder.opaque:
            return True
        old = self._change(*before)
        same_time = not folder.path or status.st_mtime_ns == before[1].st_mtime_ns
        same = status.st_mode == before[1].st_mode and folder.owner == old.owner and folder.xattrs == old.xattrs
        return not (same and same_time)

    def _before(self, path: bytes) -> tuple[bytes, os.stat_result] | None:
        """Return the folder of the highest layer below that has one of this path; None where that is no folder."""
        for lower in self._tree.lowers:
            full = os.path.join(os.fsencode(lower), path)
            try:
                status = os.lstat(full)
            except OSError:
                continue
            return (full, status) if stat.S_ISDIR(status.st_mode) else None
        return None


def _plain_capability(value: bytes) -> bytes:
    """Return a file's capabilities as they are outside user namespaces (linux/capability.h, revision 2)."""
    revision_3, size_3 = 3, 24
    if len(value) == size_3 and value[3] == revision_3:
        return value[:3] + b"\x02" + value[4:20]
    return value
