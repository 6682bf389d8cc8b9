"""The file format of layer patches: compressed live tails of a pack, kept from one image to the next.

::

    data      the blocks of each group, one after another, no gaps
    index     msgpack: the patch's key, and of each group its key, block words and CRC-32
    footer    magic, version, checksum and size of the index, checksum of the footer
"""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING, Annotated, BinaryIO

import msgspec
from isal.isal_zlib import crc32

from sifmake.errors import PackDamagedError
from sifmake.layers.decoding import decode
from sifmake.layers.pack_checks import is_block_word, stored_size
from sifmake.layers.pack_format import LARGEST_INDEX
from sifmake.ranges import read_at

if TYPE_CHECKING:
    from collections.abc import Sequence

PATCH_VERSION = 1
"""Part of every patch's key; raise it if the same tails would give different bytes, or the file format changes."""

MAGIC = b"SIFMPTCH"
FOOTER = struct.Struct("<8sIIQI")
_READ_SIZE = 1 << 20


class Group(msgspec.Struct, array_like=True, frozen=True):
    """A group in the index.

    Attributes:
        key: See :attr:`~sifmake.assembly.tails.TailGroup.key`.
        words: One squashfs word per block.
        crc: CRC-32 of the stored bytes.
    """

    key: bytes
    words: tuple[Annotated[int, msgspec.Meta(ge=1, lt=1 << 25)], ...]
    crc: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]

    @property
    def stored(self) -> int:
        """Bytes of all blocks."""
        return sum(map(stored_size, self.words))


class PatchIndex(msgspec.Struct, frozen=True):
    """The index of a patch.

    Attributes:
        key: Name of the patch; see :meth:`~sifmake.assembly.tails.LiveTails.key`.
        groups: In the order of their data.
    """

    key: str
    groups: tuple[Group, ...]


class PatchFile(msgspec.Struct, frozen=True):
    """An open patch with a valid index; its data are not checked yet.

    Attributes:
        fd: Open for reading; the opener owns it.
        index: The index.
    """

    fd: int
    index: PatchIndex

    def check(self) -> None:
        """Check all its data.

        Raises:
            PackDamagedError: A checksum does not match.
        """
        start = 0
        for group in self.index.groups:
            self.read(start, group)
            start += group.stored

    def read(self, start: int, group: Group) -> bytes:
        """Return the stored bytes of a group, checked.

        Raises:
            PackDamagedError: They do not match the checksum.
        """
        data = read_at(self.fd, group.stored, start)
        if len(data) != group.stored or crc32(data) != group.crc:
            raise PackDamagedError("its data are damaged")
        return data


def write_index(file: BinaryIO, key: str, groups: Sequence[Group]) -> None:
    """Write index and footer after the data."""
    index = msgspec.msgpack.encode(PatchIndex(key, tuple(groups)))
    footer = FOOTER.pack(MAGIC, PATCH_VERSION, crc32(index), len(index), 0)[:-4]
    file.write(index + footer + struct.pack("<I", crc32(footer)))


def load_patch(fd: int, key: str) -> PatchFile:
    """Read and check footer and index of an open file.

    Args:
        fd: The file.
        key: The key that it must have, because the file's name proves nothing.

    Raises:
        PackDamagedError: It is not a complete patch of this version, or has another key.
    """
    encoded, data_size = _read_index(fd)
    index: PatchIndex = decode(encoded, PatchIndex, "its index")
    if index.key != key:
        raise PackDamagedError("it belongs to another pack")
    words = [word for group in index.groups for word in group.words]
    if sum(map(stored_size, words)) != data_size or not all(map(is_block_word, words)):
        raise PackDamagedError("its index does not match its data")
    return PatchFile(fd, index)


def _read_index(fd: int) -> tuple[bytes, int]:
    """Return the encoded index and the size of the data before it."""
    status = os.fstat(fd)
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    raw = read_at(fd, FOOTER.size, size - FOOTER.size) if size >= FOOTER.size else b""
    if len(raw) != FOOTER.size or struct.unpack("<I", raw[-4:])[0] != crc32(raw[:-4]):
        raise PackDamagedError("it is incomplete")
    magic, version, index_crc, index_size, _ = FOOTER.unpack(raw)
    data_size = size - FOOTER.size - index_size
    if magic != MAGIC or version != PATCH_VERSION or data_size < 0 or index_size > LARGEST_INDEX:
        raise PackDamagedError("it is not a patch of this version")
    encoded = read_at(fd, index_size, data_size)
    if len(encoded) != index_size or crc32(encoded) != index_crc:
        raise PackDamagedError("its index is damaged")
    return encoded, data_size
