"""Read the attributes of a sandbox from its files."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.errors import SifError
from sifmake.flatten.tree import Tree, new_directory
from sifmake.json_text import parse_json
from sifmake.layers.entry import FILE, SYMLINK, Inode
from sifmake.rootfs.inspection import inspection
from sifmake.rootfs.report import parse_inspection

if TYPE_CHECKING:
    from collections.abc import Mapping

_META = ".singularity.d"
_APPS = "scif"
_TEXT_BYTES = 1 << 20
_MOST = 10_000
"""Most files in these folders to read."""


def inspect_sandbox(folder: Path) -> dict[str, Any]:
    """Return the attributes of a sandbox, like those of a SIF file in ``inspect-metadata.json``.

    Raises:
        SifError: The folder is not a sandbox.
        OSError: It cannot be read.
    """
    if not (folder / _META).is_dir():
        from sifmake.not_sif import advise_folder

        what = f"this folder is not a sandbox: it has no {_META}"
        raise SifError(what, where=str(folder), hint=advise_folder(str(folder)))
    tree, paths = Tree(), dict[int, Path]()
    for name in (_META, _APPS):
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            _add(tree, folder, name, paths)

    def read(inode: Inode, size: int) -> bytes:
        return _read(paths[id(inode)], size)

    labels, definition = _labels(folder / _META / "labels.json"), folder / _META / "Singularity"
    text = _read(definition, _TEXT_BYTES).decode(errors="replace") if definition.is_file() else ""
    document, _ = inspection(tree, read, labels, text)
    return parse_inspection(document)


def _add(tree: Tree, folder: Path, name: str, paths: dict[int, Path]) -> None:
    """Add a folder of a sandbox to a tree, without following links."""
    stack = [(folder / name, os.fsencode(name), tree.root)]
    while stack:
        path, inner, parent = stack.pop()
        status = path.lstat()
        last = inner.rpartition(b"/")[2]
        children = parent.children if parent.children is not None else {}
        if stat.S_ISDIR(status.st_mode):
            child = children[last] = new_directory(inner, mtime=0)
            stack += [(one, inner + b"/" + os.fsencode(one.name), child) for one in path.iterdir()]
        elif stat.S_ISLNK(status.st_mode):
            children[last] = Inode(inner, SYMLINK, 0o777, 0, 0, 0, target=os.fsencode(path.readlink()))
        elif stat.S_ISREG(status.st_mode):
            child = children[last] = Inode(inner, FILE, 0o644, 0, 0, 0, size=status.st_size)
            paths[id(child)] = path
        if len(paths) > _MOST:
            raise SifError(f"there are more than {_MOST} files in {_META} and {_APPS} (a limit)", where=str(folder))


def _read(path: Path, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        return file.read(size)


def _labels(path: Path) -> Mapping[str, str]:
    try:
        found = parse_json(_read(path, _TEXT_BYTES))
    except (OSError, ValueError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}
