"""The copies of ``%files`` as files of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import SourceError
from sifmake.layers.entry import FILE, Inode
from sifmake.steps.copy_layer import LayerFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.definition.copies import Copy
    from sifmake.definition.host_folder import HostFile, HostFolder
    from sifmake.steps.stage_tree import StageTree


def copied_file(copy: Copy, folder: HostFolder, source: StageTree | None, epoch: int, where: str) -> LayerFile:
    """Return one copied file, with a function that opens its content.

    Args:
        copy: The file and its destination.
        folder: The folder to copy from, for the host.
        source: The tree of the stage to copy from; None for the host.
        epoch: Time stamp for files without one of their own.
        where: Place in the definition, for messages.
    """
    entry, found = copy.entry, copy.source
    entry.mtime = entry.mtime or epoch
    if entry.kind != FILE or found is None:
        return LayerFile(entry)
    if not isinstance(found, Inode):
        return LayerFile(entry, lambda: _read(folder, found, where))
    inode: Inode = found

    def pieces() -> Iterable[bytes]:
        return map(bytes, source.pieces(inode)) if source else ()

    return LayerFile(entry, pieces)


def _read(folder: HostFolder, file: HostFile, where: str) -> Iterator[bytes]:
    """Yield the bytes of a file of the host; an error says which line of the definition asks for it."""
    try:
        yield from folder.read(file)
    except SourceError as error:
        raise error.within(where) from None
