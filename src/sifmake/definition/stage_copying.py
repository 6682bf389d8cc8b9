"""``%files from STAGE``: a named link is followed; the content of a folder is copied unchanged.

Files in a folder keep owners, modes, times and hard links; the folder itself gets mode 0755 and belongs to root.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sifmake.definition.copies import At, Copy, CopyPlan, shown
from sifmake.definition.globbing import expand_paths
from sifmake.definition.model import as_bytes
from sifmake.definition.patterns import PatternError
from sifmake.layers.entry import BLOCK, CHAR, DIR, FILE, SYMLINK, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.definition.model import CopyLine, Files
    from sifmake.definition.problems import DefinitionPlace
    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode
    from sifmake.limits import Limits

_CAPABILITY = b"security.capability"


class _StageFolders:
    """A stage's tree, for patterns."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def names(self, path: str) -> list[str] | None:
        inode = self._tree.resolve(as_bytes(path))
        if inode is None or inode.kind != DIR:
            return None
        return [name.decode("utf-8", "surrogateescape") for name in inode.children or ()]

    def exists(self, path: str) -> bool:
        return self._tree.resolve(as_bytes(path), follow_last=False) is not None

    def is_link(self, path: str) -> bool:
        inode = self._tree.resolve(as_bytes(path), follow_last=False)
        return inode is not None and inode.kind == SYMLINK


def plan_stage_copies(files: Files, source: Tree, tree: Tree, place: DefinitionPlace, limits: Limits) -> list[Copy]:
    """Return the copies for the lines of ``%files from STAGE``, parents first.

    Args:
        files: The lines.
        source: The stage to copy from.
        tree: The image; it is not changed.
        place: For messages.
        limits: ``files_entries`` is used.

    Raises:
        DefinitionError: A source is missing, cannot be copied, or something is in the way.
    """
    copying = _StageCopying(CopyPlan(tree, place, limits.files_entries), source, files.stage)
    for line in files.copies:
        copying.copy(line)
    return copying.plan.finished()


class _StageCopying:
    """Processes the lines one by one."""

    def __init__(self, plan: CopyPlan, source: Tree, stage: str) -> None:
        self.plan = plan
        self._source = source
        self._stage = stage
        self._groups = 0

    def copy(self, line: CopyLine) -> None:
        self.plan.line = line.line
        for path in self._sources(line.source):
            inode = self._source.resolve(as_bytes(path))
            if inode is None or (path.endswith("/") and inode.kind != DIR):
                raise self.plan.error(f"{path} is not in the stage {self._stage}", "check what its %post creates")
            at = self.plan.destination(line.destination or path)
            name = as_bytes(path).rpartition(b"/")[2]
            if at.is_folder and name not in (b"", b".", b".."):
                at = self.plan.child(at, name)
            self._onto(inode, at, path)

    def _sources(self, source: str) -> list[str]:
        try:
            return expand_paths("/" + source.lstrip("/"), _StageFolders(self._source), self.plan.spend)
        except PatternError as error:
            raise self.plan.error(f"{source[:60]!r}: {error}") from None

    def _onto(self, inode: Inode, at: At, path: str) -> None:
        if inode.kind == DIR:
            if at.entry is not None and at.entry.kind != DIR:
                raise self.plan.error(f"the folder {path} cannot replace {shown(at.path)}, which is not a folder")
            top = at if at.is_folder else self.plan.put(at, Entry(at.path, DIR, 0o755, 0, 0, 0))
            self._inside(inode, top)
        elif inode.kind == FILE:
            if at.is_folder:
                raise self.plan.error(f"{path} cannot replace {shown(at.path)}, which is a folder")
            self.plan.put(at, _entry(inode, at.path), inode)
        else:
            raise self.plan.error(f"{path} is a device or a named pipe", "create it in %post of this stage")

    def _inside(self, folder: Inode, at: At) -> None:
        """Copy the content of a folder."""
        names = Counter(id(inode) for inode in self._all(folder) if inode.kind == FILE)
        groups: dict[int, int] = {}
        waiting = [(folder, at)]
        while waiting:
            inside, to = waiting.pop()
            for name, inode in sorted((inside.children or {}).items()):
                place = self.plan.child(to, name)
                if inode.kind == DIR:
                    waiting.append((inode, self.plan.put(place, _entry(inode, place.path))))
                elif inode.kind == FILE:
                    linked = names[id(inode)] > 1
                    if linked and id(inode) not in groups:
                        self._groups += 1
                        groups[id(inode)] = self._groups
                    entry = _entry(inode, place.path, linked=linked)
                    self.plan.put(place, entry, inode, groups.get(id(inode), 0))
                elif inode.kind in {SYMLINK, CHAR, BLOCK}:
                    self.plan.put(place, _entry(inode, place.path))
                else:
                    what = f"{shown(inode.path)} is a named pipe or a socket, which is not copied"
                    raise self.plan.error(what, f"remove it in %post of the stage {self._stage}")

    def _all(self, folder: Inode) -> Iterator[Inode]:
        waiting = [folder]
        while waiting:
            inside = waiting.pop().children or {}
            self.plan.spend(len(inside))
            for inode in inside.values():
                yield inode
                if inode.kind == DIR:
                    waiting.append(inode)


def _entry(inode: Inode, path: bytes, *, linked: bool = False) -> Entry:
    """Return the copy of an inode, which keeps no extended attributes but capabilities.

    A file with several names loses setuid, setgid and capabilities: the peers set the owner again for each name, which
    removes them.
    """
    mode, xattrs = inode.mode, tuple(pair for pair in inode.xattrs if pair[0] == _CAPABILITY)
    if linked:
        mode &= ~0o4000 if not mode & 0o010 else ~0o6000
        xattrs = ()
    fields = {name: getattr(inode, name) for name in Entry.__struct_fields__}
    return Entry(**fields | {"path": path, "mode": mode, "xattrs": xattrs, "content": -1})
