"""Layers of files that are copied or written into an image, with their parent folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.layers.entry import DIR, FILE, Entry
from sifmake.layers.tar_writer import tar_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sifmake.flatten.tree import Tree


def _nothing() -> Iterable[bytes]:
    return ()


@dataclass(frozen=True)
class LayerFile:
    """One file or folder of a layer.

    Attributes:
        entry: The entry for the image; its path leads through no link.
        open: Returns the bytes of a regular file, from the beginning at each call.
    """

    entry: Entry
    open: Callable[[], Iterable[bytes]] = _nothing


def layer_stream(files: Iterable[LayerFile], tree: Tree) -> Iterator[bytes]:
    """Yield the tar stream of a layer: sorted, with parent folders as they are in the tree below.

    Args:
        files: The new files; if a path occurs twice, the last one wins.
        tree: The tree below the layer.

    Raises:
        LayerError: A file changed while it was read.
        OSError: One cannot be read.
    """
    wanted = {file.entry.path: file for file in files}
    for path in list(wanted):
        for parent in _parents(path):
            if parent not in wanted:
                wanted[parent] = LayerFile(_folder(tree, parent))
    return tar_stream((wanted[path].entry, wanted[path].open()) for path in sorted(wanted))


def _parents(path: bytes) -> Iterator[bytes]:
    while path:
        path = path.rpartition(b"/")[0]
        yield path


def _folder(tree: Tree, path: bytes) -> Entry:
    inode = tree.resolve(path, follow_last=False)
    if inode is None or inode.kind != DIR:
        return Entry(path, DIR, 0o755, 0, 0, tree.root.mtime)
    return Entry(path, DIR, inode.mode, inode.uid, inode.gid, inode.mtime, xattrs=inode.xattrs)


def data_file(path: bytes, data: bytes, mode: int, mtime: int) -> LayerFile:
    """Return a regular file with this content, owned by root."""
    return LayerFile(Entry(path, FILE, mode, 0, 0, mtime, size=len(data)), lambda: (data,))
