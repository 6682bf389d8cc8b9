"""The file that carries a tree from one process to the next, written and read in pieces.

::

    listing   FORMAT, then msgpack: one row per path; the digest covers it
    origins   msgpack: bytes of each ROWS rows; for each row with a content the number of the pack that its entry came
              with, and the number of the content there, both as little-endian 32-bit words
    footer    size of the listing, CRC-32 of the origins

The listing names contents by their SHA-256, not by where some pack keeps them, so it depends on the image alone. If
several packs have a content, an image copies it from the lowest one that an entry of the tree came from. A tree read
from a file must know that too, or the same lock would give other bytes.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from array import array
from itertools import islice
from typing import TYPE_CHECKING, Annotated, BinaryIO

import msgspec
from isal.isal_zlib import crc32

from sifmake.flatten.tree import Tree, new_directory
from sifmake.formats import TREE_VERSION
from sifmake.layers.array_part import array_header, encode_elements
from sifmake.layers.decoding import decode
from sifmake.layers.entry import DIR, FILE, HARDLINK, Inode, Number, Number32

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sifmake.layers.pack_reader import Pack

FORMAT = b"sifmake tree %d\n" % TREE_VERSION
"""First bytes of a tree file; the digest covers them."""

ROWS = 1024
"""Rows encoded and decoded together."""

_Kind = Annotated[int, msgspec.Meta(ge=DIR, le=HARDLINK)]
_Mode = Annotated[int, msgspec.Meta(ge=0, le=0o7777)]
_Xattrs = tuple[tuple[bytes, bytes], ...]
_Row = tuple[bytes, _Kind, _Mode, Number32, Number32, int, Number, bytes, bytes, Number32, Number32, _Xattrs]
"""Path, kind, mode, uid, gid, mtime, size, SHA-256, target, major, minor, xattrs."""

_FOOTER = struct.Struct("<QI")


class _Origins(msgspec.Struct, array_like=True):
    """The part after the listing."""

    sizes: list[Number]
    layers: bytes
    contents: bytes


def write_tree(tree: Tree, packs: Sequence[Pack], file: BinaryIO | None) -> str:
    """Take the canonical listing of a tree: every path once, sorted within its directory, parents first.

    Args:
        tree: The finished tree.
        packs: The packs with its contents.
        file: Where to write the tree file; None if only its digest is wanted.

    Returns:
        ``sha256:`` and the digest of the listing.
    """
    head = FORMAT + array_header(_count(tree))
    digest, size = hashlib.sha256(head), len(head)
    layers, contents, sizes = array("I"), array("I"), []
    if file is not None:
        file.write(head)
    rows = _rows(tree, packs, layers, contents)
    while some := list(islice(rows, ROWS)):
        piece = encode_elements(some)
        digest.update(piece)
        sizes.append(len(piece))
        size += len(piece)
        if file is not None:
            file.write(piece)
    if file is not None:
        origins = msgspec.msgpack.encode(_Origins(sizes, _little(layers).tobytes(), _little(contents).tobytes()))
        file.write(origins + _FOOTER.pack(size, crc32(origins)))
    return f"sha256:{digest.hexdigest()}"


def _count(tree: Tree) -> int:
    count, folders = 1, [tree.root]
    while folders:
        children = folders.pop().children or {}
        count += len(children)
        folders += [child for child in children.values() if child.kind == DIR]
    return count


def _little(numbers: array[int]) -> array[int]:
    """Convert words between this machine's byte order and the file's."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _rows(tree: Tree, packs: Sequence[Pack], layers: array[int], contents: array[int]) -> Iterator[_Row]:
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
            digest = packs[inode.layer].contents.digest(inode.content)
            layers.append(inode.layer)
            contents.append(inode.content)
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


def read_tree(file: BinaryIO, packs: Sequence[Pack]) -> tuple[Tree, int, str]:
    """Return the tree in a file, the count of its paths, and the digest of its listing.

    Raises:
        ValueError: The file is not a tree file, or does not describe a valid tree.
        LookupError: It names a pack, a content or a path that is not there.
        PackDamagedError: A part of it cannot be decoded.
        OSError: It cannot be read.
    """
    end = file.seek(0, os.SEEK_END) - _FOOTER.size
    if end < 0:
        raise ValueError("it is truncated")
    file.seek(end)
    size, crc = _FOOTER.unpack(file.read(_FOOTER.size))
    if size > end:
        raise ValueError("it is truncated")
    file.seek(size)
    raw = file.read(end - size)
    if crc32(raw) != crc:
        raise ValueError("other format")
    origins: _Origins = decode(raw, _Origins, "the end of the tree file")
    file.seek(0)
    listing = _Listing(file, size, origins.sizes)
    layers, contents = _words(origins.layers), _words(origins.contents)
    tree = _build(listing, packs, zip(layers, contents, strict=True))
    return tree, listing.count, listing.digest


def _words(raw: bytes) -> array[int]:
    words = array("I")
    words.frombytes(raw)
    return _little(words)


class _Listing:
    """Reads rows in pieces.

    Attributes:
        count: Rows in all.
    """

    def __init__(self, file: BinaryIO, size: int, sizes: Sequence[int]) -> None:
        head = file.read(len(FORMAT) + 5)
        if not head.startswith(FORMAT):
            raise ValueError("other format")
        self.count = _read_count(head[len(FORMAT) :])
        start = len(FORMAT) + len(array_header(self.count))
        if len(sizes) != -(-self.count // ROWS) or start + sum(sizes) != size:
            raise ValueError("other format")
        file.seek(start)
        self._file = file
        self._sizes = sizes
        self._sha256 = hashlib.sha256(head[:start])

    @property
    def digest(self) -> str:
        """Digest of the rows read so far."""
        return f"sha256:{self._sha256.hexdigest()}"

    def __iter__(self) -> Iterator[_Row]:
        left = self.count
        for size in self._sizes:
            piece = self._file.read(size)
            self._sha256.update(piece)
            rows: list[_Row] = decode(array_header(min(left, ROWS)) + piece, list[_Row], "the listing")
            left -= len(rows)
            yield from rows


def _read_count(header: bytes) -> int:
    if header[:1] == b"\xdd" and len(header) == 5:
        return int.from_bytes(header[1:])
    if header[:1] == b"\xdc" and len(header) >= 3:
        return int.from_bytes(header[1:3])
    if header and header[0] & 0xF0 == 0x90:
        return header[0] & 0xF
    raise ValueError("other format")


_Folders = dict[bytes, dict[bytes, Inode]]
"""Names in each folder, by its path."""


def _build(rows: _Listing, packs: Sequence[Pack], origins: Iterator[tuple[int, int]]) -> Tree:
    tree = Tree(new_directory(b"", mtime=0))
    folders: _Folders = {}
    for path, kind, mode, uid, gid, mtime, size, digest, target, major, minor, xattrs in rows:
        folder, _, name = path.rpartition(b"/")
        if kind == HARDLINK:
            inode = _linked(folders, target)
            inode.links += 1
        else:
            inode = Inode(name, kind, mode, uid, gid, mtime, size, -1, target, major, minor, xattrs)
            if kind == DIR:
                inode.path = path
                inode.children = folders[path] = {}
            elif kind == FILE and size:
                inode.layer, inode.content = _origin(packs, origins, digest, size)
        if name:
            folders[folder][name] = inode
        elif inode.children is None:
            raise ValueError("a root that is not a directory")
        else:
            tree.root = inode
    return tree


def _linked(folders: _Folders, target: bytes) -> Inode:
    folder, _, name = target.rpartition(b"/")
    inode = folders[folder][name]
    if inode.kind == DIR:
        raise ValueError("a hard link to a directory")
    return inode


def _origin(packs: Sequence[Pack], origins: Iterator[tuple[int, int]], digest: bytes, size: int) -> tuple[int, int]:
    """Return the pack and content of the next file with a content, after comparing it with its row."""
    layer, number = next(origins, (len(packs), 0))
    contents = packs[layer].contents
    if contents.digest(number) != digest or contents.sizes[number] != size:
        raise ValueError("a file whose content differs from that in its pack")
    return layer, number
