"""``%files`` and ``%appfiles`` from the host, as ``cp -fLr`` copies: links are followed, root owns the copies.

An existing file keeps its mode and owner, as if its content were overwritten. A folder is copied into an existing
folder; otherwise it gets the destination's name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from sifmake.definition.blanks import before_comment, trimmed
from sifmake.definition.copies import At, Copy, CopyPlan, shown
from sifmake.definition.globbing import expand_paths
from sifmake.definition.host_folder import HostError
from sifmake.definition.model import CopyLine, Files, as_bytes
from sifmake.definition.patterns import PatternError, unescaped
from sifmake.flatten.tree import Tree
from sifmake.layers.entry import DIR, FILE, SYMLINK, Entry

if TYPE_CHECKING:
    from sifmake.definition.host_folder import HostFile, HostFolder
    from sifmake.definition.model import App, BuildStage
    from sifmake.definition.problems import DefinitionPlace
    from sifmake.limits import Limits

_KEPT = 0o775
"""Permission bits that a new file takes from its source: those allowed by umask 0002, without setuid, setgid, sticky.
"""
_DEEPEST = 500
"""Most nested folders on the host."""


def plan_host_copies(
    files: Files, folder: HostFolder, tree: Tree, place: DefinitionPlace, limits: Limits
) -> list[Copy]:
    """Return the copies from the host for the lines of ``%files``, parents first.

    Args:
        files: The lines.
        folder: Where their sources are.
        tree: The image; it is not changed.
        place: For messages.
        limits: ``files_entries`` and ``name_bytes`` are used.

    Raises:
        DefinitionError: A source is missing or not readable, or something in the image is in the way.
    """
    copying = _HostCopying(CopyPlan(tree, place, limits.files_entries), folder, limits)
    for line in files.copies:
        copying.copy(line)
    return copying.plan.finished()


def plan_app_copies(app: App, folder: HostFolder, tree: Tree, place: DefinitionPlace, limits: Limits) -> list[Copy]:
    """Return the copies for an app's ``%appfiles``: without patterns, and without creating folders.

    Args:
        app: The app; its folders are in the tree.
        folder: Where the sources are.
        tree: The image; it is not changed.
        place: For messages.
        limits: ``files_entries`` and ``name_bytes`` are used.

    Raises:
        DefinitionError: Like :func:`plan_host_copies`.
    """
    copying = _HostCopying(CopyPlan(tree, place, limits.files_entries, "appfiles"), folder, limits)
    for line in _app_lines(app):
        copying.copy_into_app(app, line)
    return copying.plan.finished()


def sources_of(stage: BuildStage) -> list[CopyLine]:
    """Return all lines of a stage that copy from the host: those of ``%files``, then those of ``%appfiles``."""
    lines = [line for files in stage.files if not files.stage for line in files.copies]
    apps = [line for app in stage.apps for line in _app_lines(app)]
    return lines + [replace(line, source=_escaped(line.source)) for line in apps]


def describe_sources(line: CopyLine, folder: HostFolder, place: DefinitionPlace, limits: Limits) -> str:
    """Return the SHA-256, hexadecimal, of everything that a line copies: paths, types, masked modes and contents.

    Args:
        line: One of :func:`sources_of`.
        folder: Where its sources are.
        place: For messages.
        limits: As for :func:`plan_host_copies`.

    Raises:
        DefinitionError: A source is missing or not readable.
        SourceError: One changed while it was read.
    """
    destination = f"{line.destination.rstrip('/')}/" if line.destination else ""
    files = Files("", (replace(line, destination=destination),), line.line)
    total = hashlib.sha256()
    for copy in plan_host_copies(files, folder, Tree(), place, limits):
        entry, content = copy.entry, hashlib.sha256()
        if copy.source is not None:
            for piece in folder.read(cast("HostFile", copy.source)):
                content.update(piece)
        facts = (entry.kind, entry.mode, entry.size, len(entry.path))
        total.update(f"{facts} {content.hexdigest()} ".encode() + entry.path)
    return total.hexdigest()


def _app_lines(app: App) -> list[CopyLine]:
    """Return the lines of ``%appfiles``: source and destination, split at the first blanks; ``#`` begins a comment."""
    section = app.sections.get("appfiles")
    found = []
    for index, raw in enumerate(section.text.split("\n") if section else ()):
        source, _, destination = trimmed(before_comment(raw)).partition(" ")
        if source and section:
            found.append(CopyLine(source, trimmed(destination), section.lines.of(index)))
    return found


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A file of the host that is still to be copied, and the host's folders that contain it."""

    source: HostFile
    to: At
    above: frozenset[tuple[int, int]]


@dataclass(frozen=True)
class _Searched:
    """A folder in which a pattern is looked up; what it matches where nothing may be copied is not left out in silence.

    Attributes:
        folder: The folder.
    """

    folder: HostFolder

    def names(self, path: str) -> list[str] | None:
        """Return the names in a folder; HostError if it may not be copied from."""
        found = self.folder.names(path)
        if found is None:
            self.folder.refuse(path)
        return found

    def exists(self, path: str) -> bool:
        return self.folder.exists(path)

    def is_link(self, path: str) -> bool:
        return self.folder.is_link(path)


@dataclass(frozen=True)
class _HostCopying:
    """Processes the lines one by one."""

    plan: CopyPlan
    folder: HostFolder
    limits: Limits

    def copy(self, line: CopyLine) -> None:
        self.plan.line = line.line
        for path in self._sources(line.source):
            wanted = line.destination or path
            at = self.plan.destination(wanted)
            self._onto(self._look(as_bytes(path)), at, slash=wanted.endswith("/"))

    def copy_into_app(self, app: App, line: CopyLine) -> None:
        self.plan.line = line.line
        # Joined as by the peers: the dots are resolved before any link is followed.
        wanted = _without_dots(f"scif/apps/{app.name}/{line.destination or line.source}")
        at = self.plan.resolve(as_bytes(wanted))
        if not self.plan.resolve(b"/" + at.path.rpartition(b"/")[0]).is_folder:
            hint = "copy it to the app's folder, bin or lib, or make the folder in %appinstall and copy with %files"
            raise self.plan.error(f"the folder of {shown(as_bytes(wanted))} does not exist", hint)
        self._onto(self._look(as_bytes(line.source)), at, slash=False)

    def _sources(self, source: str) -> list[str]:
        try:
            if source == "~" or source.startswith("~/"):
                source = _escaped(self.folder.home()) + source[1:]
            return expand_paths(source, _Searched(self.folder), self.plan.spend)
        except (PatternError, HostError) as error:
            hint = error.hint if isinstance(error, HostError) else ""
            raise self.plan.error(f"{unescaped(source)[:60]!r}: {error}", hint) from None

    def _look(self, path: bytes) -> HostFile:
        try:
            return self.folder.look(path)
        except HostError as error:
            raise self.plan.error(str(error), error.hint) from None

    def _onto(self, source: HostFile, at: At, *, slash: bool) -> None:
        name = source.path.rstrip(b"/").rpartition(b"/")[2]
        if at.is_folder:
            if name not in (b"", b".", b".."):
                at = self.plan.child(at, name)
        elif slash and at.entry is not None:
            raise self.plan.error(f"{shown(at.path)} is not a folder", "remove the / at its end")
        self._tree(source, at)

    def _tree(self, source: HostFile, at: At) -> None:
        waiting = [_Waiting(source, at, frozenset())]
        while waiting:
            item = waiting.pop()
            if item.source.kind != DIR:
                self._file(item.source, item.to)
                continue
            if item.source.identity in item.above:
                raise self.plan.error(f"{_shown(item.source)} is a link to a folder above it")
            to = self._made(item.source, item.to)
            above = item.above | {item.source.identity}
            if len(above) > _DEEPEST:
                raise self.plan.error(f"{_shown(item.source)} is more than {_DEEPEST} folders deep")
            for name in reversed(self._names(item.source)):
                path = item.source.path.rstrip(b"/") + b"/" + name
                waiting.append(_Waiting(self._look(path), self.plan.child(to, name), above))

    def _names(self, source: HostFile) -> list[bytes]:
        try:
            return self.folder.listed(source.path)
        except HostError as error:
            raise self.plan.error(str(error), error.hint) from None

    def _made(self, source: HostFile, at: At) -> At:
        """Create a folder; leave an existing one unchanged."""
        if at.is_folder:
            self.plan.spend(1)
            return at
        if at.entry is not None:
            raise self.plan.error(f"the folder {_shown(source)} cannot replace {shown(at.path)}, which is not a folder")
        return self.plan.put(at, Entry(at.path, DIR, source.mode & _KEPT, 0, 0, 0))

    def _file(self, source: HostFile, at: At) -> None:
        if at.entry is not None and at.entry.kind == SYMLINK:
            at = self._through(at)
        old = at.entry
        if len(at.path) > self.limits.name_bytes:
            raise self.plan.error(f"a path has more than {self.limits.name_bytes} bytes (limit name-bytes)")
        if old is None:
            entry = Entry(at.path, source.kind, source.mode & _KEPT, 0, 0, 0, size=source.size)
        elif old.kind == FILE:
            entry = Entry(at.path, source.kind, old.mode & 0o777, old.uid, old.gid, 0, size=source.size)
        else:
            what = "a folder" if old.kind == DIR else "a device, pipe or socket"
            raise self.plan.error(f"{_shown(source)} cannot replace {shown(at.path)}, which is {what}")
        self.plan.put(at, entry, source if source.kind == FILE else None)

    def _through(self, link: At) -> At:
        """Return the place in the image that a link leads to."""
        at = self.plan.resolve(b"/" + link.path)
        if at.entry is None:
            raise self.plan.error(f"{shown(link.path)} is a link to {shown(at.path)}, which does not exist")
        return at


def _without_dots(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def _escaped(path: str) -> str:
    return "".join(f"\\{char}" if char in "\\*?[{},+@!$`" else char for char in path)


def _shown(source: HostFile) -> str:
    return source.path.decode("utf-8", "backslashreplace")
