"""The tree of one stage of a build, which grows layer by layer."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sifmake.flatten.flattened import short
from sifmake.flatten.merge import Merger
from sifmake.formats import SIF_VERSION
from sifmake.layers.content_reader import ContentReader
from sifmake.layers.entry import FILE
from sifmake.rootfs.editing import Editor
from sifmake.steps.step_key import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode
    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits
    from sifmake.progress import Progress


class StageTree:
    """Layers and sifmake's own files, applied on top of each other.

    Attributes:
        packs: One per layer, lowest first; closed with the tree.
        epoch: Time stamp, in seconds, of everything that sifmake adds.
        base_layers: How many of the layers belong to the base.
        base_files: Digest of sifmake's own files on top of them.
    """

    def __init__(self, epoch: int, limits: Limits, progress: Progress) -> None:
        self.packs: list[Pack] = []
        self.epoch = epoch
        self.base_layers = 0
        self.base_files = ""
        self._merger = Merger(epoch, limits)
        self._progress = progress
        self._added: dict[int, tuple[Inode, bytes]] = {}
        self._readers: dict[int, ContentReader] = {}

    @property
    def tree(self) -> Tree:
        """The tree as it is now."""
        return self._merger.tree

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """DiffIDs of the layers, lowest first."""
        return tuple(pack.meta.diff_id for pack in self.packs)

    def apply(self, pack: Pack) -> None:
        """Apply a layer to the tree.

        Raises:
            FlattenError: The layer does not fit.
            LimitError: See :func:`sifmake.flatten.flattened.merge`.
        """
        number = len(self.packs)
        self.packs.append(pack)
        self._merger.apply(pack.entries(), number)
        for warning in (*pack.meta.warnings, *self._merger.warnings):
            self._progress.warning(f"layer {short(pack.meta.diff_id)}: {warning}")

    def edit(self) -> Editor:
        """Return an editor for sifmake's own files; call :meth:`keep` afterwards."""
        return Editor(self.tree, self.epoch)

    def keep(self, editor: Editor) -> None:
        """Keep the contents that an editor has added."""
        self._added |= {id(inode): (inode, data) for inode, data in editor.files}

    def end_base(self) -> None:
        """Note that all further layers come from steps."""
        self.base_layers = len(self.packs)
        files = ((inode.path.hex(), inode.mode, hashlib.sha256(data).hexdigest()) for inode, data in self.added())
        self.base_files = digest_of([SIF_VERSION, *files])

    def latest_time(self) -> int:
        """Return the latest time stamp of the tree, seconds since 1970."""
        return max(inode.mtime for _, inode in self.tree.walk())

    def size(self) -> int:
        """Return the bytes of all files."""
        return sum({id(inode): inode.size for _, inode in self.tree.walk()}.values())

    def added(self) -> list[tuple[Inode, bytes]]:
        """Return sifmake's own files that are still in the tree, with their bytes."""
        alive = {id(inode) for _, inode in self.tree.walk() if inode.kind == FILE}
        return [one for key, one in self._added.items() if key in alive]

    def pieces(self, inode: Inode) -> Iterable[bytes | bytearray | memoryview]:
        """Return the bytes of a regular file.

        Raises:
            PackDamagedError: Its pack is damaged.
        """
        if inode.content < 0:
            own = self._added.get(id(inode))
            return (own[1],) if own else ()
        pack = self.packs[inode.layer]
        reader = self._readers.setdefault(inode.layer, ContentReader(pack))
        return reader.pieces(pack.contents[inode.content])

    def read_head(self, inode: Inode, size: int) -> bytes:
        """Return the first bytes of a regular file."""
        if inode.content < 0:
            return b"".join(map(bytes, self.pieces(inode)))[:size]
        pack = self.packs[inode.layer]
        return pack.read_content(pack.contents[inode.content], size)

    def read_text(self, path: bytes, most: int) -> bytes | None:
        """Return the first bytes of the file at a path; None if there is none or only a link."""
        inode = self.tree.resolve(path, follow_last=False)
        return self.read_head(inode, most) if inode is not None and inode.kind == FILE else None

    def in_pack_order(self) -> Iterator[tuple[Inode, list[bytes]]]:
        """Yield the regular files with all their names, so that reading them inflates each block once."""
        names: dict[int, tuple[Inode, list[bytes]]] = {}
        for path, inode in self.tree.walk():
            if inode.kind == FILE:
                names.setdefault(id(inode), (inode, []))[1].append(path)
        yield from sorted(names.values(), key=lambda one: (one[0].layer, one[0].content))

    def close(self) -> None:
        """Close the packs."""
        for pack in {id(pack): pack for pack in self.packs}.values():
            pack.close()
        self.packs.clear()
