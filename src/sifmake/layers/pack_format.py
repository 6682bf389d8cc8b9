"""The file format of layer packs: data blocks, an index, a footer with checksums.

::

    data      blocks of files and fragment blocks, in tar order, no gaps
    index     entries, contents (msgpack); fragments (struct array); meta (msgpack)
    footer    sizes of the parts and checksums, fixed length, at the end of the file
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated

import msgspec
from isal.isal_zlib import crc32

from sifmake.formats import PACK_VERSION
from sifmake.layers.codec import BLOCK_SIZE, Codec, Compression

_MAGIC = b"SIFMPACK"
FOOTER = struct.Struct("<8sIIQQQQQII")
FRAGMENT = struct.Struct("<QII")

LARGEST_INDEX = 1 << 30
"""Largest total size of the index parts; at about 100 bytes per entry, more than a layer with the most entries needs.
"""

MOST_WARNINGS = 20
"""Warnings of a layer that are kept; one more line gives the number of the others."""


class Meta(msgspec.Struct):
    """A pack's description of itself.

    Attributes:
        diff_id: Digest of the layer's uncompressed tar stream.
        codec: Name of the block codec.
        level: Its level.
        fingerprint: Identifies the encoder; see :attr:`Codec.fingerprint`.
        block_size: Bytes of a full block.
        warnings: Warnings for the user from reading the layer.
    """

    diff_id: str
    codec: Compression
    level: int
    fingerprint: str
    block_size: int
    warnings: Annotated[list[str], msgspec.Meta(max_length=MOST_WARNINGS + 1)]

    @property
    def key(self) -> str:
        """The key of this pack according to its own meta part; see :func:`pack_key`."""
        return _key(self.diff_id, f"{self.codec}{self.level}", self.block_size, self.fingerprint)


@dataclass(frozen=True)
class Footer:
    """The last bytes of a pack.

    Attributes:
        data_crc: CRC-32 of the data region.
        index_crc: CRC-32 of all index parts together.
        data_size: Bytes of the data region, which begins at offset 0.
        entries_size: Bytes of the entries.
        contents_size: Bytes of the contents.
        fragments_size: Bytes of the fragments.
        meta_size: Bytes of the meta.
    """

    data_crc: int
    index_crc: int
    data_size: int
    entries_size: int
    contents_size: int
    fragments_size: int
    meta_size: int

    @property
    def index_size(self) -> int:
        """Bytes of the index."""
        return self.entries_size + self.contents_size + self.fragments_size + self.meta_size

    def encode(self) -> bytes:
        """Return the footer's bytes; the last four are a CRC-32 of the rest."""
        sizes = (self.data_size, self.entries_size, self.contents_size, self.fragments_size, self.meta_size)
        body = FOOTER.pack(_MAGIC, PACK_VERSION, self.data_crc, *sizes, self.index_crc, 0)[:-4]
        return body + struct.pack("<I", crc32(body))

    @classmethod
    def decode(cls, raw: bytes) -> Footer | None:
        """Return the footer, or None if these bytes are not a footer of this version."""
        if len(raw) != FOOTER.size or struct.unpack("<I", raw[-4:])[0] != crc32(raw[:-4]):
            return None
        magic, version, data_crc, data, entries, contents, fragments, meta, index_crc, _ = FOOTER.unpack(raw)
        if magic != _MAGIC or version != PACK_VERSION:
            return None
        return cls(data_crc, index_crc, data, entries, contents, fragments, meta)


def pack_key(diff_id: str, codec: Codec) -> str:
    """Return the name of a layer's pack in the store: everything that decides its bytes."""
    return _key(diff_id, f"{codec.name}{codec.level}", BLOCK_SIZE, codec.fingerprint)


def _key(diff_id: str, codec: str, block_size: int, fingerprint: str) -> str:
    return f"{pack_key_prefix(diff_id)}{codec}-{block_size >> 10}k-v{PACK_VERSION}-{fingerprint}"


def pack_key_prefix(diff_id: str) -> str:
    """Return the common prefix of the names of all packs of a layer."""
    return f"{diff_id.partition(':')[2]}-"
