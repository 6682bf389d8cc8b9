"""The document that ``inspect`` shows: made when a SIF file is built, read when one is looked at."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from sifmake.layers.entry import DIR, FILE
from sifmake.rootfs.gojson import compact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode

TEXT_BYTES = 1 << 20
"""Most bytes of one text that is shown."""

_ENVIRONMENT = ("10-docker*.sh", "9*-environment.sh")
_TEXTS = {"runscript": b"runscript", "test": b"test", "helpfile": b"runscript.help", "startscript": b"startscript"}
ATTRIBUTES = ("apps", "environment", "labels", "runscript", "test", "helpfile", "deffile", "startscript")
"""In the order of the document."""


def inspection(tree: Tree, read: Callable[[Inode, int], bytes], labels: Mapping[str, str], deffile: str) -> bytes:
    """Return the document about a finished tree; empty attributes are left out.

    Args:
        tree: With ``/.singularity.d`` as it will be in the image.
        read: Gives the first bytes of a regular file.
        labels: All labels.
        deffile: Text of the definition.
    """

    def text(folder: bytes, name: bytes) -> str:
        inode = tree.resolve(folder + b"/" + name)
        return _text(read(inode, TEXT_BYTES)) if inode is not None and inode.kind == FILE else ""

    found: dict[str, Any] = {name: text(b".singularity.d", file) for name, file in _TEXTS.items()}
    found["environment"] = {
        f"/.singularity.d/env/{name.decode()}": text(b".singularity.d/env", name)
        for name in _names(tree, b".singularity.d/env")
    }
    found["labels"] = dict(labels)
    found["deffile"] = deffile.rstrip("\n")
    attributes = {name: found[name] for name in ATTRIBUTES if found.get(name)}
    return compact({"data": {"attributes": attributes}, "type": "container"})


def _names(tree: Tree, folder: bytes) -> list[bytes]:
    inode = tree.resolve(folder)
    if inode is None or inode.kind != DIR or inode.children is None:
        return []
    return sorted(
        name
        for name, child in inode.children.items()
        if any(fnmatchcase(name.decode("ascii", "replace"), pattern) for pattern in _ENVIRONMENT)
        and name.isascii()
        and child.kind == FILE
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").rstrip("\n")
