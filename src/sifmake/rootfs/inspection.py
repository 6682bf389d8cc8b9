"""Make the document that ``inspect`` shows: ``inspect-metadata.json``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from sifmake.errors import one_line
from sifmake.json_text import parse_json
from sifmake.layers.entry import DIR, FILE
from sifmake.rootfs.gojson import clean, compact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode

_TEXT_BYTES = 1 << 20
"""Most bytes of one text to include."""
_ALL_TEXT_BYTES = 2 << 20
"""Most bytes of all texts: a layer of a few kilobytes may have thousands of scripts of one MiB each."""

ATTRIBUTES = ("apps", "environment", "labels", "runscript", "test", "helpfile", "deffile", "startscript")
"""The attributes of a container, in the order of the document."""
APP_ATTRIBUTES = ("environment", "labels", "runscript", "startscript", "test", "helpfile")
"""The attributes of a SCIF app, likewise."""

_TEXTS = {"runscript": b"runscript", "test": b"test", "helpfile": b"runscript.help"}
_APPS = b"scif/apps"


def inspection(
    tree: Tree, read: Callable[[Inode, int], bytes], labels: Mapping[str, str], deffile: str
) -> tuple[bytes, list[str]]:
    """Return the document about a finished tree, without empty attributes, and warnings.

    Args:
        tree: With ``/.singularity.d`` as it will be in the image.
        read: Returns the first bytes of a regular file.
        labels: All labels.
        deffile: Text of the definition.
    """
    look = _Looker(tree, read)
    found: dict[str, Any] = look.texts(b".singularity.d", ("10-docker*.sh", "9*-environment.sh"))
    found["apps"] = {name.decode(errors="replace"): look.app(name) for name in look.names(_APPS)}
    found["apps"] = {name: app for name, app in found["apps"].items() if app is not None}
    found["startscript"] = look.text(b".singularity.d/startscript")
    found["labels"] = dict(labels)
    found["deffile"] = deffile.rstrip("\n")
    return compact({"data": {"attributes": _filled(found, ATTRIBUTES)}, "type": "container"}), look.warnings()


class _Looker:
    """Reads a tree's scripts, files and names."""

    def __init__(self, tree: Tree, read: Callable[[Inode, int], bytes]) -> None:
        self._tree = tree
        self._read = read
        self._left = _ALL_TEXT_BYTES
        self._skipped: list[bytes] = []

    def text(self, path: bytes) -> str:
        """Return the text of a regular file without newlines at its end; empty if there is no such file."""
        inode = self._tree.resolve(path)
        if inode is None or inode.kind != FILE:
            return ""
        if min(inode.size, _TEXT_BYTES) > self._left:
            self._skipped.append(path)
            return ""
        data = self._read(inode, _TEXT_BYTES)
        self._left -= len(data)
        return data.decode(errors="replace").rstrip("\n")

    def warnings(self) -> list[str]:
        """Return a line about the texts beyond the limits."""
        if not self._skipped:
            return []
        first = one_line(self._skipped[0].decode(errors="replace"))
        what = f"{len(self._skipped)} scripts and texts, first /{first}, are not shown by inspect"
        return [f"{what}: they have more than {_ALL_TEXT_BYTES} bytes in all (a limit)"]

    def names(self, folder: bytes) -> list[bytes]:
        """Return the sorted names in a directory; none if there is no directory."""
        inode = self._tree.resolve(folder)
        return sorted(inode.children or ()) if inode is not None else []

    def texts(self, folder: bytes, patterns: tuple[str, ...]) -> dict[str, Any]:
        """Return scripts and environment files of a container or an app."""
        found: dict[str, Any] = {key: self.text(folder + b"/" + name) for key, name in _TEXTS.items()}
        found["environment"] = {
            f"/{folder.decode(errors='replace')}/env/{name.decode(errors='replace')}": self.text(
                folder + b"/env/" + name
            )
            for name in self.names(folder + b"/env")
            if any(fnmatchcase(name.decode(errors="replace"), pattern) for pattern in patterns)
        }
        return found

    def app(self, name: bytes) -> dict[str, Any] | None:
        """Return the attributes of a SCIF app; None if the name is not an app."""
        folder = _APPS + b"/" + name + b"/scif"
        inode = self._tree.resolve(folder)
        if inode is None or inode.kind != DIR:
            return None
        found = self.texts(folder, ("9*-environment.sh",))
        found["startscript"] = self.text(folder + b"/startscript")
        found["labels"] = _labels(self.text(folder + b"/labels.json"))
        return _filled(found, APP_ATTRIBUTES)


def _filled(found: Mapping[str, Any], order: tuple[str, ...]) -> dict[str, Any]:
    return {name: found[name] for name in order if found.get(name)}


def _labels(text: str) -> dict[str, str]:
    try:
        value = parse_json(text) if text else {}
    except ValueError:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        return {}
    return {clean(key): clean(item) for key, item in sorted(value.items())}
