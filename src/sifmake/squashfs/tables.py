"""All tables of a squashfs 4.0 image, built in memory and placed after the data."""

from __future__ import annotations

import struct
from array import array
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sifmake.errors import SquashfsError
from sifmake.layers.entry import DIR
from sifmake.squashfs import format as fmt
from sifmake.squashfs.directories import DirectoryTable
from sifmake.squashfs.inodes import InodeTable
from sifmake.squashfs.metadata import indexed_table
from sifmake.squashfs.paths import first_path
from sifmake.squashfs.survey import survey_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode
    from sifmake.squashfs.inodes import PlacementFields
    from sifmake.squashfs.survey import Survey
    from sifmake.squashfs.xattrs import XattrTable


_AT_ONCE = 4096
"""Numbers packed in one call, which needs an object for each."""


class Fragment(NamedTuple):
    """A fragment block in the data region.

    Attributes:
        start: Its offset from the start of the squashfs.
        word: Its stored size, bit 24 set when not compressed.
    """

    start: int
    word: int


class Tables(msgspec.Struct, frozen=True):
    """The parts that turn a data region into a squashfs image.

    Attributes:
        superblock: The first 96 bytes of the image.
        tail: Everything after the data region, including the zero padding of the image to 4 KiB.
        bytes_used: Size of the image without the padding.
        inode_count: Number of inodes.
        warnings: What squashfs could not store, for the user.
    """

    superblock: bytes
    tail: bytearray
    bytes_used: int
    inode_count: int
    warnings: tuple[str, ...]


class Draft(msgspec.Struct, frozen=True):
    """The parts of an image's tables that do not depend on the length of its data region.

    Attributes:
        survey: The content of the tree.
        references: Of all inodes by their numbers, from number 1 on.
        inodes: The finished inode table.
        directories: The finished directory table.
        xattrs: The extended attributes.
        root: Reference of the root's inode.
        fragments: Count of fragment blocks.
        compress: Compresses one metadata block with the image's codec.
        options: Settings for the superblock.
    """

    survey: Survey
    references: array[int]
    inodes: bytearray
    directories: bytearray
    xattrs: XattrTable
    root: int
    fragments: int
    compress: Callable[[bytes], bytes]
    options: fmt.SquashfsOptions

    def finish(self, fragments: Sequence[Fragment], data_end: int) -> Tables:
        """Put the tables after a data region.

        Args:
            fragments: All fragment blocks, as many as were announced.
            data_end: Where the data region ends and the tables begin, from the start of the squashfs; at least 96.
        """
        if len(fragments) != self.fragments:
            raise SquashfsError(f"{len(fragments)} fragment blocks, but {self.fragments} were announced")
        survey, options = self.survey, self.options
        image = _Image(data_end, self.compress)
        inode_start = image.add(self.inodes)
        directory_start = image.add(self.directories)
        fragment_start = image.add_table(b"".join(fmt.FRAGMENT.pack(f.start, f.word, 0) for f in fragments))
        export_start = image.add_table(_pack_all("Q", self.references))
        id_start = image.add_table(_pack_all("I", survey.ids))
        xattr_table, xattr_start = self.xattrs.table(image.end)
        image.add(xattr_table)
        superblock = fmt.SUPERBLOCK.pack(
            *(fmt.MAGIC, survey.inode_count, fmt.clamp_time(options.mkfs_time), options.block_size, len(fragments)),
            *(fmt.COMPRESSION_IDS[options.compression], options.block_size.bit_length() - 1, fmt.FLAGS),
            *(len(survey.ids), *fmt.VERSION, self.root, image.end),
            *(id_start, fmt.NONE_64 if xattr_start is None else xattr_start),
            *(inode_start, directory_start, fragment_start, export_start),
        )
        bytes_used = image.end
        image.add(bytes(-bytes_used % fmt.PAD))
        return Tables(superblock, image.tail, bytes_used, survey.inode_count, survey.warnings)


def draft_tables(
    tree: Tree,
    place: Callable[[Inode], PlacementFields],
    fragments: int,
    compress: Callable[[bytes], bytes],
    options: fmt.SquashfsOptions,
) -> Draft:
    """Build all tables that do not depend on the sizes of fragment blocks.

    Args:
        tree: The content of the image; sets numbers and links of its inodes.
        place: Returns where the bytes of a file with content are; called once per inode.
        fragments: How many fragment blocks there will be.
        compress: Compresses one metadata block with the image's codec.
        options: Settings for the superblock.

    Raises:
        SquashfsError: The tree does not fit into squashfs 4.0; raised before ``place`` is called the first time,
            unless a placement itself is wrong.
    """
    survey = survey_tree(tree)
    references = array("Q", [fmt.NONE_64]) * (survey.inode_count + 1)

    def path_of(bad: Inode) -> str:
        return first_path(tree, lambda inode: inode is bad)

    inodes = InodeTable(compress, place, survey.ids, fragments, options.block_size, path_of)
    directories = DirectoryTable(compress, inodes.writers, references)
    root = _write_tree(survey, inodes, directories)
    references[tree.root.number] = root
    streams = inodes.stream.finish(), directories.stream.finish()
    return Draft(survey, references[1:], *streams, inodes.xattrs, root, fragments, compress, options)


def _write_tree(survey: Survey, inodes: InodeTable, directories: DirectoryTable) -> int:
    """Write directories from the deepest up, each with the inodes of its children next to each other.

    Returns:
        The reference of the root's inode.
    """
    above_root = survey.inode_count + 1  # the number that mksquashfs uses for the root's parent
    for directory in reversed(survey.directories):
        listing, parent = directories.write(directory), directory.parent
        inodes.listings[directory.inode.number] = listing, parent.number if parent else above_root
    root = survey.directories[0].inode
    return inodes.writers[DIR](root, root.number)


class _Image:
    """The growing end of the image."""

    def __init__(self, data_end: int, compress: Callable[[bytes], bytes]) -> None:
        self.tail = bytearray()
        self._data_end = data_end
        self._compress = compress

    @property
    def end(self) -> int:
        return self._data_end + len(self.tail)

    def add(self, data: bytes | bytearray) -> int:
        start = self.end
        self.tail += data
        return start

    def add_table(self, records: bytes) -> int:
        """Add blocks of records and the index of their starts; return where the index is."""
        blocks, index = indexed_table(records, self.end, self._compress)
        self.add(blocks)
        return self.add(index)


def _pack_all(code: str, values: Sequence[int]) -> bytes:
    parts = (values[at : at + _AT_ONCE] for at in range(0, len(values), _AT_ONCE))
    return b"".join(struct.pack(f"<{len(part)}{code}", *part) for part in parts)
