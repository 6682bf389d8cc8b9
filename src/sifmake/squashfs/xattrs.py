"""The table of extended attributes: each set and each longer value is stored once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from sifmake.squashfs.format import (
    NONE_32,
    XATTR_ELSEWHERE,
    XATTR_ENTRY,
    XATTR_HEADER,
    XATTR_OUT_OF_LINE,
    XATTR_PREFIXES,
    XATTR_SET,
    XATTR_SIZE,
)
from sifmake.squashfs.limits import show_key
from sifmake.squashfs.metadata import MetadataStream, indexed_table
from sifmake.squashfs.paths import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode

Xattrs: TypeAlias = tuple[tuple[bytes, bytes], ...]


class XattrTable:
    """Collects sets of attributes while inodes are written, then becomes the image's last table."""

    def __init__(self, compress: Callable[[bytes], bytes]) -> None:
        self._compress = compress
        self._entries = MetadataStream(compress)
        self._sets = bytearray()
        self._numbers: dict[Xattrs, int] = {}
        self._values: dict[bytes, int] = {}

    def number(self, xattrs: Xattrs) -> int:
        """Return the number of a set, and add it if it is new; NONE_32 if squashfs can store none of it."""
        known = self._numbers.get(xattrs)
        if known is None:
            kept = tuple(pair for pair in xattrs if _prefix(pair[0]))
            known = NONE_32 if not kept else self._numbers.get(kept)
            if known is None:
                known = self._add(kept)
                self._numbers[kept] = known
            self._numbers[xattrs] = known
        return known

    def _add(self, kept: Xattrs) -> int:
        number = len(self._sets) // XATTR_SET.size
        references = [self._add_pair(name, value) for name, value in kept]
        size = sum(len(name) + 1 + len(value) for name, value in kept)
        self._sets += XATTR_SET.pack(references[0], len(kept), size)
        return number

    def _add_pair(self, name: bytes, value: bytes) -> int:
        prefix = _prefix(name)
        kind, rest = XATTR_PREFIXES[prefix], name[len(prefix) :]
        known = self._values.get(value)
        if known is not None:
            entry = XATTR_ENTRY.pack(kind | XATTR_OUT_OF_LINE, len(rest)) + rest
            return self._entries.append(entry + XATTR_ELSEWHERE.pack(8, known))
        reference = self._entries.append(XATTR_ENTRY.pack(kind, len(rest)) + rest)
        place = self._entries.append(XATTR_SIZE.pack(len(value)) + value)
        if len(value) > 8:
            self._values[value] = place
        return reference

    def table(self, position: int) -> tuple[bytes | bytearray, int | None]:
        """Return the table's bytes, for a position of the image, and where its header is; None if there is no table."""
        if not self._sets:
            return b"", None
        entries = self._entries.finish()
        sets, index = indexed_table(bytes(self._sets), position + len(entries), self._compress)
        header = XATTR_HEADER.pack(position, len(self._sets) // XATTR_SET.size, 0)
        return entries + sets + header + index, position + len(entries) + len(sets)


def _prefix(name: bytes) -> bytes:
    return next((prefix for prefix in XATTR_PREFIXES if name.startswith(prefix) and name != prefix), b"")


def dropped_xattrs(tree: Tree, inodes: Sequence[Inode]) -> tuple[str, ...]:
    """Return one warning per attribute that squashfs cannot store, each with the count and the first path."""
    sets = {inode.xattrs for inode in inodes if inode.xattrs}
    if all(_prefix(name) for xattrs in sets for name, _ in xattrs):
        return ()
    first: dict[bytes, bytes] = {}
    counts: dict[bytes, int] = {}
    for path, inode in tree.walk():
        for name, _ in inode.xattrs:
            if not _prefix(name):
                first.setdefault(name, path)
                counts[name] = counts.get(name, 0) + 1
    return tuple(
        f"{shown_path(path)}: extended attribute {show_key(name)} dropped, squashfs has user, trusted and security only"
        f" ({counts[name]} in all)"
        for name, path in first.items()
    )
