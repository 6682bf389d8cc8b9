"""The changes in a tree: as recorded in the upper folder of its overlay, or found by comparing a copy."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from abc import ABC, abstractmethod
from typing import NamedTuple

from sifmake.rootless.errors import RootlessError
from sifmake.rootless.owners import DEVICE, NOTE, noted_device, noted_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sifmake.rootless.owners import Device

    FindOwner = Callable[[bytes], tuple[int, int] | None]
    """Returns the owner that a path was given and could not have."""

_LEFT_OUT = (
    "trusted.overlay.",
    "user.overlay.",
    NOTE,
    DEVICE,
    "security.selinux",
    "security.ima",
    "security.evm",
    "security.SMACK64",
    "security.apparmor",
    "system.",
)
"""Attributes that are the machine's, the overlay's or ours."""
_CAPABILITY = "security.capability"
_UNREADABLE = ("redirect", "metacopy")
_OURS = frozenset({b".post.script", b".post.before", b".post.after", b".build.labels"})
"""Names at the top of the tree that are never part of a layer."""
_LONGEST_PATH = 4095
"""Longest path that the kernel accepts, bytes."""


class TreeChange(NamedTuple):
    """A path that has changed.

    Attributes:
        path: Without leading slash; empty for the top.
        status: Status of the file there now; None if it was removed.
        owner: User and group.
        xattrs: Extended attributes, sorted.
        opaque: Whether the folder hides everything that was below it.
        device: The device node that a file stands for, because it could not be created.
        noted: Whether the owner was noted, because it cannot be real.
    """

    path: bytes
    status: os.stat_result | None = None
    owner: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    opaque: bool = False
    device: Device | None = None
    noted: bool = False


class Changes(ABC):
    """Iterates over the changes in a folder, which becomes the current one.

    Folders come before what is in them, names in order. Unchanged folders without changes inside are left out.

    Args:
        top: The folder.
        unwanted: What to leave out.
        find_owner: Finds owners that no attribute has.

    Attributes:
        overlay: The prefix of the attributes that an overlay has set; empty if there is no overlay. A script may set
            others with similar names.
        inherits: Whether new files in a setgid folder get its group here, because the kernel did not know the group.
    """

    def __init__(self, top: str, unwanted: Unwanted, find_owner: FindOwner) -> None:
        self.inherits = False
        self.overlay = ""
        self._top = top
        self._unwanted = unwanted
        self._find_owner = find_owner
        self._pending: list[TreeChange] = []

    def __iter__(self) -> Iterator[TreeChange]:
        os.chdir(self._top)
        top = self._change(b"", os.stat("."))
        stack = [(top, self._open(top))]
        while stack:
            folder, names = stack[-1]
            path = next(names, None)
            if path is None:
                stack.pop()
                yield from self._close()
                continue
            change = None if self._unwanted.by_name(path) else self._look(path)
            change = self._with_group_of(folder, change) if change else None
            if change and change.status and stat.S_ISDIR(change.status.st_mode):
                stack.append((change, self._open(change)))
            elif change:
                yield from self._flush()
                yield change

    @abstractmethod
    def _was_there(self, path: bytes) -> bool:
        """Whether the path existed before."""

    def _with_group_of(self, folder: TreeChange, change: TreeChange) -> TreeChange:
        """Give a new file in a setgid folder the folder's group, if the kernel could not."""
        mode = folder.status.st_mode if folder.status else 0
        inherits = self.inherits and mode & stat.S_ISGID and folder.owner[1]
        if not inherits or change.noted or not change.status or self._was_there(change.path):
            return change
        return change._replace(owner=(change.owner[0], folder.owner[1]))

    def _names(self, folder: bytes) -> Iterable[bytes]:
        """Return the names in a folder that may have changed."""
        return os.listdir(folder or b".")

    @abstractmethod
    def _look(self, path: bytes) -> TreeChange | None:
        """Return the change at a path; None if there is none."""

    @abstractmethod
    def _is_news(self, folder: TreeChange) -> bool:
        """Whether a folder has changed; the time of the top folder is ignored."""

    def _open(self, folder: TreeChange) -> Iterator[bytes]:
        """Enter a folder, which is reported with the first change in it; return its content."""
        self._pending.append(folder)
        above = folder.path + b"/" if folder.path else b""
        if len(above) > _LONGEST_PATH - 256:
            raise RootlessError("folders are nested too deeply for a layer", where=os.fsdecode(above[:80]) + "...")
        return iter([above + name for name in sorted(self._names(folder.path))])

    def _close(self) -> Iterator[TreeChange]:
        """Leave a folder; report it if it has changed itself."""
        if self._pending:
            if self._is_told(self._pending[-1]):
                yield from self._flush()
            else:
                self._pending.pop()

    def _flush(self) -> Iterator[TreeChange]:
        folders, self._pending = self._pending, []
        for folder in folders:
            if folder.path or self._is_told(folder):
                yield folder

    def _is_told(self, folder: TreeChange) -> bool:
        return not self._unwanted.made(folder.path) and self._is_news(folder)

    def _change(self, path: bytes, status: os.stat_result) -> TreeChange:
        names = os.listxattr(path or b".", follow_symlinks=False)
        values = {name: os.getxattr(path or b".", name, follow_symlinks=False) for name in sorted(names)}
        own = {name: value for name, value in values.items() if not name.startswith(_LEFT_OUT)}
        marks = {name.removeprefix(self.overlay): value for name, value in values.items()} if self.overlay else {}
        for name in _UNREADABLE:
            if name in marks:
                raise RootlessError(f"an overlay with {name} cannot be read", where=os.fsdecode(path))
        if _CAPABILITY in own:
            own[_CAPABILITY] = _plain_capability(own[_CAPABILITY])
        xattrs = tuple((os.fsencode(name), value) for name, value in own.items())
        owner, noted = (status.st_uid, status.st_gid), None
        if owner == (0, 0):  # a file with a note seems to belong to root
            noted = noted_owner(values.get(NOTE)) or self._find_owner(path)
        opaque = marks.get("opaque") == b"y"
        if "whiteout" in marks and stat.S_ISREG(status.st_mode):
            return TreeChange(path)
        device = noted_device(values.get(DEVICE))
        return TreeChange(path, status, noted or owner, xattrs, opaque, device, noted is not None)


class OverlayChanges(Changes):
    """The changes in the upper folder of an overlay.

    Args:
        lowers: Folders below it, highest first.
        top: The layer with the attributes of the top folder.
    """

    def __init__(self, upper: str, lowers: Sequence[str], top: str, unwanted: Unwanted, find_owner: FindOwner) -> None:
        super().__init__(upper, unwanted, find_owner)
        self._lowers = lowers
        self._highest = top

    def _look(self, path: bytes) -> TreeChange | None:
        status = os.lstat(path)
        if stat.S_ISCHR(status.st_mode) and not status.st_rdev:
            return TreeChange(path)
        return None if self._unwanted.by_kind(path, status) else self._change(path, status)

    def _is_news(self, folder: TreeChange) -> bool:
        status, before = folder.status, self._before(folder.path)
        if not status or not before or folder.opaque:
            return True
        old = self._change(*before)
        same_time = not folder.path or status.st_mtime_ns == before[1].st_mtime_ns
        same = status.st_mode == before[1].st_mode and folder.owner == old.owner and folder.xattrs == old.xattrs
        return not (same and same_time)

    def _was_there(self, path: bytes) -> bool:
        return any(os.path.lexists(os.path.join(os.fsencode(lower), path)) for lower in self._lowers)

    def _before(self, path: bytes) -> tuple[bytes, os.stat_result] | None:
        """Return the folder at this path in the highest lower layer that has the path; None if it is not a folder."""
        for lower in self._lowers if path else [self._highest]:
            full = os.path.join(os.fsencode(lower), path)
            try:
                status = os.lstat(full)
            except OSError:
                continue
            return (full, status) if stat.S_ISDIR(status.st_mode) else None
        return None


class CopyChanges(Changes):
    """The changes in a copy of a tree; create this object before anything changes the copy."""

    def __init__(self, root: str, unwanted: Unwanted, find_owner: FindOwner) -> None:
        super().__init__(root, unwanted, find_owner)
        self._marks: dict[bytes, tuple[int, int]] = {}
        self._folders: dict[bytes, tuple[TreeChange, list[bytes]]] = {}
        os.chdir(root)
        folders = [b""]
        for folder in folders:  # grows during the loop
            folders += self._note(folder)

    def _was_there(self, path: bytes) -> bool:
        return path in self._marks or path in self._folders

    def _note(self, folder: bytes) -> list[bytes]:
        """Note the content of a folder; return its subfolders."""
        names = os.listdir(folder or b".")
        self._folders[folder] = (self._change(folder, os.lstat(folder or b".")), names)
        found = []
        for name in names:
            path = folder + b"/" + name if folder else name
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                found.append(path)
            else:
                self._marks[path] = _mark(status)
        return found

    def _names(self, folder: bytes) -> Iterable[bytes]:
        names = set(super()._names(folder))
        return names.union(self._folders[folder][1]) if folder in self._folders else names

    def _look(self, path: bytes) -> TreeChange | None:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return TreeChange(path)
        if self._marks.get(path) == _mark(status) or self._unwanted.by_kind(path, status):
            return None
        return self._change(path, status)

    def _is_news(self, folder: TreeChange) -> bool:
        if folder.path not in self._folders or not folder.status:
            return True
        old = self._folders[folder.path][0]
        same_time = not folder.path or not old.status or folder.status.st_mtime_ns == old.status.st_mtime_ns
        same_mode = not old.status or folder.status.st_mode == old.status.st_mode
        return not (same_time and same_mode and folder.owner == old.owner and folder.xattrs == old.xattrs)


class Unwanted:
    """What is never reported of a tree.

    Args:
        made: Paths created as mount points.
        leave_out: Patterns (fnmatch) of paths.
    """

    def __init__(self, made: Iterable[str], leave_out: Iterable[str]) -> None:
        self._made = frozenset(map(os.fsencode, made))
        self._left_out = re.compile("|".join(fnmatch.translate(one) for one in leave_out) or r"(?!)")

    def by_name(self, path: bytes) -> bool:
        """Whether a path is left out."""
        return path in _OURS or bool(self._left_out.match(os.fsdecode(path)))

    def by_kind(self, path: bytes, status: os.stat_result) -> bool:
        """Whether a file is left out because of its kind: sockets are useless without their programs."""
        return stat.S_ISSOCK(status.st_mode) or (path in self._made and not stat.S_ISDIR(status.st_mode))

    def made(self, path: bytes) -> bool:
        """Whether a path was created as a mount point."""
        return path in self._made


def _mark(status: os.stat_result) -> tuple[int, int]:
    """Return the values that change whenever a file does."""
    return status.st_ino, status.st_ctime_ns


def _plain_capability(value: bytes) -> bytes:
    """Return a file's capabilities as they are outside user namespaces (linux/capability.h, revision 2)."""
    revision_3, size_3 = 3, 24
    if len(value) == size_3 and value[3] == revision_3:
        return value[:3] + b"\x02" + value[4:20]
    return value
