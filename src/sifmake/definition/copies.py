"""Plan what ``%files`` puts into an image, and where.

Symlinks of the image are followed inside the image, never out of it. Later copies replace earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.definition.model import as_bytes
from sifmake.flatten.tree import follow, parts_of
from sifmake.layers.entry import DIR, HARDLINK, SYMLINK, Entry

if TYPE_CHECKING:
    from sifmake.definition.host_folder import HostFile
    from sifmake.definition.problems import DefinitionPlace
    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode

_MOST_LINKS = 255
"""Most links followed on the way to a destination, the peers' limit."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One file, folder or link to put into an image.

    Attributes:
        entry: As the layer has it; ``mtime`` 0 for what is new, so that the caller may set the time.
        source: Where a file's bytes come from; None for folders, links and hard links.
        line: Of the definition.
        group: Of several files with one value that is not 0, the later ones are further names of the first.
    """

    entry: Entry
    source: HostFile | Inode | None
    line: int
    group: int = 0


@dataclass(frozen=True, slots=True)
class At:
    """A place in the image.

    Attributes:
        path: Without leading slash; only the last component may be a link.
        entry: The file there; None if there is none.
        base: The base image's inode, if it is not replaced.
    """

    path: bytes
    entry: Entry | None
    base: Inode | None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.entry is not None and self.entry.kind == DIR


class CopyPlan:
    """Collects copies into one image.

    Attributes:
        line: The definition's current line, for messages.
    """

    def __init__(self, tree: Tree, place: DefinitionPlace, most: int, section: str = "files") -> None:
        self.line = 0
        self._root = tree.root
        self._place = place
        self._most = most
        self._section = section
        self._new: dict[bytes, Copy] = {}
        self._hidden: set[bytes] = set()
        self._work = 0

    def error(self, what: str, hint: str = "") -> Exception:
        """Return an error about the current line."""
        return self._place.error(self.line, what, hint, section=self._section)

    def spend(self, names: int) -> None:
        """Count names that are read or copied.

        Raises:
            DefinitionError: There are too many.
        """
        self._work += names
        if self._work > self._most:
            what = f"%{self._section} reads more than {self._most} files and folders (limit files-entries)"
            raise self.error(what)

    def resolve(self, path: bytes) -> At:
        """Return the place that a path leads to, following links; missing components are taken literally.

        Raises:
            DefinitionError: Links form a loop.
        """
        at = follow(path, At(b"", self._root, self._root), self.child, _target, _MOST_LINKS)
        if at is None:
            raise self.error(f"links in the image form a loop at {shown(path)}")
        return at

    def destination(self, path: str) -> At:
        """Return the place that a line copies to, with the folders that lead there; a path with a slash is a folder."""
        at = self.resolve(as_bytes(path))
        if at.entry is not None:
            return at
        self.make_folders(at.path if path.endswith("/") else at.path.rpartition(b"/")[0])
        return self.resolve(b"/" + at.path)

    def child(self, folder: At, name: bytes) -> At:
        """Return the place of a name in a folder; no link is followed."""
        path = folder.path + b"/" + name if folder.path else name
        below = folder.base.children.get(name) if folder.base is not None and folder.base.children else None
        new = self._new.get(path)
        if new is None:
            return At(path, below, below)
        through = below is not None and below.kind == DIR == new.entry.kind
        return At(path, new.entry, below if through else None)

    def make_folders(self, path: bytes) -> None:
        """Create the missing folders of a path, with mode 0755 and owned by root.

        Raises:
            DefinitionError: Something that is not a folder is in the way.
        """
        at = At(b"", self._root, self._root)
        for part in reversed(parts_of(path)):
            at = self.child(at, part)
            if at.entry is None:
                at = self.put(at, Entry(at.path, DIR, 0o755, 0, 0, 0))
            elif at.entry.kind != DIR:
                raise self.error(f"{shown(at.path)} is not a folder, so {shown(path)} cannot be created")

    def put(self, at: At, entry: Entry, source: HostFile | Inode | None = None, group: int = 0) -> At:
        """Put something at a place, and return the place with it.

        Raises:
            DefinitionError: There are too many, or a folder comes to stand over a file that stands over a folder.
        """
        self.spend(1)
        if at.entry is not None and at.entry.kind == DIR != entry.kind:
            self._replace_folder(at)
        if entry.kind == DIR and at.path in self._hidden:
            raise self.error(f"{shown(at.path)} is replaced twice", "copy to another path, or remove it in %post")
        self._new[at.path] = Copy(entry, source, self.line, group)
        through = entry.kind == DIR and at.base is not None and at.base.kind == DIR
        return At(at.path, entry, at.base if through else None)

    def finished(self) -> list[Copy]:
        """Return all copies, sorted by path; further names of one inode are hard links to the first."""
        first: dict[int, bytes] = {}
        done: list[Copy] = []
        for path in sorted(self._new):
            copy = self._new[path]
            if copy.group and first.setdefault(copy.group, path) != path:
                entry = copy.entry
                link = Entry(path, HARDLINK, entry.mode, entry.uid, entry.gid, entry.mtime, target=first[copy.group])
                copy = Copy(link, None, copy.line)
            done.append(copy)
        return done

    def _replace_folder(self, at: At) -> None:
        """Forget the copies in a folder that is being replaced."""
        self.spend(len(self._new))
        for inside in [other for other in self._new if other.startswith(at.path + b"/")]:
            del self._new[inside]
        if at.base is not None:
            self._hidden.add(at.path)


def shown(path: bytes) -> str:
    """Return a path of the image for a message."""
    return "/" + path.decode("utf-8", "backslashreplace").lstrip("/")


def _target(at: At) -> bytes | None:
    return at.entry.target if at.entry is not None and at.entry.kind == SYMLINK else None
