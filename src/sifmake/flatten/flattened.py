"""A finished tree with its digest, and the file that carries it from one process to the next.

::

    listing   FORMAT, then msgpack: one row per path; the digest covers it
    layers    msgpack: for each row with a content, the number of the pack that its entry came with
    footer    size of the listing, CRC-32 of the layers

The listing names contents by their SHA-256, not by where some pack keeps them, so it depends on the image alone. If
several packs have a content, an image takes it from the lowest one that an entry of the tree came with. A tree that
was read from a file must know that too, or the same lock would give other bytes.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
from isal.isal_zlib import crc32

from sifmake.errors import FlattenError, LimitError, PackDamagedError, SifmakeError
from sifmake.files import write_atomic
from sifmake.flatten.merge import Merger
from sifmake.flatten.tree import Tree, new_directory
from sifmake.formats import TREE_VERSION
from sifmake.layers.decoding import decode
from sifmake.layers.entry import DIR, FILE, HARDLINK, Inode, Number, Number32
from sifmake.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sifmake.layers.pack_reader import Pack
    from sifmake.limits import Limits

FORMAT = b"sifmake tree %d\n" % TREE_VERSION
"""First bytes of a tree file; the digest covers them."""

_Kind = Annotated[int, msgspec.Meta(ge=DIR, le=HARDLINK)]
_Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
_Xattrs = tuple[tuple[bytes, bytes], ...]
_Row = tuple[bytes, _Kind, _Mode, Number32, Number32, int, Number, bytes, bytes, Number32, Number32, _Xattrs]
"""Path, kind, mode, uid, gid, mtime, size, SHA-256, target, major, minor, xattrs."""

_FOOTER = struct.Struct("<QI")


@dataclass(frozen=True)
class Merged:
    """What the layers of an image come to.

    Attributes:
        tree: Inodes whose contents are found by pack number and index.
        entries: Count of tar entries in all layers.
        warnings: What the layers hold that an image should not.
    """

    tree: Tree
    entries: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Flattened(Merged):
    """The same with its identity.

    Attributes:
        digest: ``sha256:`` and the digest of the canonical listing of the tree.
        encoded: The canonical listing.
        layers: Numbers of the packs that the contents of its rows came with, in their order.
    """

    digest: str
    encoded: bytes
    layers: list[int]

    def save(self, path: Path) -> None:
        """Write the tree file."""
        layers = msgspec.msgpack.encode(self.layers)
        write_atomic(path, self.encoded + layers + _FOOTER.pack(len(self.encoded), crc32(layers)))


def flatten(packs: Sequence[Pack], epoch: int, limits: Limits = DEFAULT_LIMITS) -> Flattened:
    """Merge the layers and take the tree's listing; see :func:`merge`."""
    merged = merge(packs, epoch, limits)
    layers: list[int] = []
    encoded = _encode(merged.tree, packs, layers)
    return Flattened(merged.tree, merged.entries, merged.warnings, _digest_of(encoded), encoded, layers)


def merge(packs: Sequence[Pack], epoch: int, limits: Limits = DEFAULT_LIMITS) -> Merged:
    """Merge the layers, lowest first.

    Args:
        packs: One per layer.
        epoch: Time stamp, in seconds, of directories that no tar entry describes.
        limits: ``entries``, ``implied_folders`` and ``path_steps`` apply.

    Raises:
        LimitError: There are too many entries, or paths lead through too many folders.
        FlattenError: Layers cannot be merged; ``where`` names layer and path.
    """
    merger = Merger(epoch, limits)
    count = 0
    warnings: list[str] = []
    for number, pack in enumerate(packs):
        entries = pack.entries()
        count += len(entries)
        if count > limits.entries:
            what = f"the layers have more than {limits.entries} entries together (a limit)"
            raise LimitError(what, hint="set entries under limits in sifmake.yaml")
        warnings += [f"layer {short(pack.meta.diff_id)}: {text}" for text in pack.meta.warnings]
        try:
            merger.apply(entries, number)
        except SifmakeError as error:
            raise error.within(f"layer {short(pack.meta.diff_id)}") from None
        warnings += [f"layer {short(pack.meta.diff_id)}: {text}" for text in merger.warnings]
    return Merged(merger.tree, count, tuple(warnings))


def short(digest: str) -> str:
    """Return an OCI digest cut to what a person compares."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}:{value[:12]}"


def _digest_of(encoded: bytes) -> str:
    """Return the digest of a canonical listing."""
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def _encode(tree: Tree, packs: Sequence[Pack], layers: list[int]) -> bytes:
    """Return the canonical listing: every path once, sorted within its directory, parents first.

    Args:
        tree: The finished tree.
        packs: Have the contents.
        layers: Is added to: the number of the pack of each row that has a content.
    """
    digests = [[content.sha256 for content in pack.contents] for pack in packs]
    return FORMAT + msgspec.msgpack.encode(list(_rows(tree, digests, layers)))


def _rows(tree: Tree, digests: list[list[bytes]], layers: list[int]) -> Iterator[_Row]:
    first: dict[int, bytes] = {}
    for path, inode in tree.walk():
        kind = inode.kind
        if inode.links and kind != DIR:
            known = first.setdefault(id(inode), path)
            if known is not path:
                yield path, HARDLINK, 0, 0, 0, 0, 0, b"", known, 0, 0, ()
                continue
        digest = b""
        if inode.content >= 0:
            digest = digests[inode.layer][inode.content]
            layers.append(inode.layer)
        yield (
            path,
            kind,
            inode.mode,
            inode.uid,
            inode.gid,
            inode.mtime,
            inode.size,
            digest,
            inode.target,
            inode.major,
            inode.minor,
            inode.xattrs,
        )


def load(path: Path, packs: Sequence[Pack]) -> Flattened:
    """Read a tree file; contents are looked up in packs.

    Raises:
        FlattenError: The file is damaged, or no pack has one of the contents.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    places = [{content.sha256: (index, content.size) for index, content in enumerate(pack.contents)} for pack in packs]
    try:
        encoded, layers = _split(data)
        rows = decode(memoryview(encoded)[len(FORMAT) :], list[_Row], "the listing")
        tree = _build(rows, places, layers)
    except (ValueError, LookupError, struct.error, PackDamagedError) as error:
        what = error.what if isinstance(error, PackDamagedError) else error
        raise FlattenError(
            f"the tree does not fit to its packs ({what})", where=str(path), hint="delete it; it is made again"
        ) from None
    return Flattened(tree, len(rows), (), _digest_of(encoded), encoded, layers)


def _split(data: bytes) -> tuple[bytes, list[int]]:
    """Return the listing in a tree file and the layers behind it; ValueError where it is none."""
    size, crc = _FOOTER.unpack(data[-_FOOTER.size :])
    encoded, behind = data[:size], data[size : -_FOOTER.size]
    if not encoded.startswith(FORMAT) or crc32(behind) != crc:
        raise ValueError("other format")
    return encoded, decode(behind, list[Number], "the list of layers")


def _build(rows: list[_Row], places: list[dict[bytes, tuple[int, int]]], layers: list[int]) -> Tree:
    tree = Tree(new_directory(b"", mtime=0))
    own = iter(layers)
    by_path: dict[bytes, Inode] = {b"": tree.root}
    for path, kind, mode, uid, gid, mtime, size, digest, target, major, minor, xattrs in rows:
        if kind == HARDLINK:
            inode = by_path[target]
            if inode.kind == DIR:
                raise ValueError("a hard link to a directory")
            inode.links += 1
        else:
            inode = Inode(path, kind, mode, uid, gid, mtime, size, -1, target, major, minor, xattrs)
            if kind == DIR:
                inode.children = {}
            elif kind == FILE and size:
                inode.layer = next(own, len(places))
                inode.content, stored = places[inode.layer][digest]
                if stored != size:
                    raise ValueError("a file of another size than its content")
        by_path[path] = inode
        folder, _, name = path.rpartition(b"/")
        if name:
            children = by_path[folder].children
            if children is None:
                raise ValueError("a file with entries below it")
            children[name] = inode
        elif inode.children is None:
            raise ValueError("a root that is not a directory")
        else:
            tree.root = inode
    return tree
