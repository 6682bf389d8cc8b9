"""The file format of layer packs: data blocks, an index, the residue of the tar stream, a footer with checksums.

::

    data      blocks of files and fragment blocks, in tar order, no gaps
    index     entries, contents (msgpack); fragments (struct array); meta (msgpack)
    residue   what else the layer's tar stream holds (:mod:`~sifmake.layers.residue`); may be missing
    footer    sizes of the parts and checksums, fixed length, at the end of the file

Packs of format 1, which sifmake 0.2 wrote, have no residue and a shorter footer; they are still read.
"""

from __future__ import annotations

import re
import struct
from typing import Annotated

import msgspec
from isal.isal_zlib import crc32

from sifmake.block_compression import Compression, block_format
from sifmake.formats import PACK_VERSION
from sifmake.layers.codec import BLOCK_SIZE, Codec

_MAGIC = b"SIFMPACK"
FOOTER = struct.Struct("<8sIIQQQQQQIII")
FIRST_FOOTER = struct.Struct("<8sIIQQQQQII")
"""The footer of format 1."""
FIRST_VERSION = 1
FRAGMENT = struct.Struct("<QII")

_KEY = re.compile(r"([0-9a-f]+-[a-z]+)[0-9]+(-[0-9]+k-v[0-9]+)-[0-9a-f]+\Z")
"""A key; its groups are what level and encoder do not change."""
_CODEC = re.compile(r"[0-9a-f]+-([a-z]+)[0-9]+-[0-9]+k-v([0-9]{1,9})-")
"""A key; its groups are codec and format number."""
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
    def encoder(self) -> str:
        """The encoder; see :attr:`Codec.encoder`."""
        return f"{self.codec}{self.level}-{self.fingerprint}"

    def key(self, version: int) -> str:
        """Return the key of a pack of this format according to its own meta part; see :func:`pack_key`."""
        return _key(self.diff_id, f"{self.codec}{self.level}", self.block_size, version, self.fingerprint)


class Footer(msgspec.Struct, frozen=True):
    """The last bytes of a pack.

    Attributes:
        data_crc: CRC-32 of the data region.
        index_crc: CRC-32 of all index parts together.
        data_size: Bytes of the data region, which begins at offset 0.
        entries_size: Bytes of the entries.
        contents_size: Bytes of the contents.
        fragments_size: Bytes of the fragments.
        meta_size: Bytes of the meta.
        residue_size: Bytes of the residue; 0 if the pack has none.
        residue_crc: CRC-32 of the residue.
        version: Format number of the pack.
    """

    data_crc: int
    index_crc: int
    data_size: int
    entries_size: int
    contents_size: int
    fragments_size: int
    meta_size: int
    residue_size: int = 0
    residue_crc: int = 0
    version: int = PACK_VERSION

    @property
    def index_size(self) -> int:
        """Bytes of the index."""
        return self.entries_size + self.contents_size + self.fragments_size + self.meta_size

    @property
    def file_size(self) -> int:
        """Bytes of the complete pack."""
        footer = FIRST_FOOTER if self.version == FIRST_VERSION else FOOTER
        return self.data_size + self.index_size + self.residue_size + footer.size

    def encode(self) -> bytes:
        """Return the footer's bytes in the present format; the last four are a CRC-32 of the rest."""
        sizes = (self.data_size, self.entries_size, self.contents_size, self.fragments_size, self.meta_size)
        checksums = (self.index_crc, self.residue_crc, 0)
        body = FOOTER.pack(_MAGIC, PACK_VERSION, self.data_crc, *sizes, self.residue_size, *checksums)[:-4]
        return body + struct.pack("<I", crc32(body))

    @classmethod
    def decode(cls, raw: bytes) -> Footer | None:
        """Return the footer at the end of these bytes, or None if there is no footer of a known format."""
        if fields := _fields(raw, FOOTER, PACK_VERSION):
            data_crc, data, entries, contents, fragments, meta, residue, index_crc, residue_crc, _ = fields
            return cls(data_crc, index_crc, data, entries, contents, fragments, meta, residue, residue_crc)
        if fields := _fields(raw, FIRST_FOOTER, FIRST_VERSION):
            data_crc, data, entries, contents, fragments, meta, index_crc, _ = fields
            return cls(data_crc, index_crc, data, entries, contents, fragments, meta, version=FIRST_VERSION)
        return None


def _fields(raw: bytes, footer: struct.Struct, version: int) -> tuple[int, ...]:
    """Return the fields behind the format number; none if this is not such a footer."""
    end = raw[-footer.size :]
    if len(end) < footer.size or struct.unpack("<I", end[-4:])[0] != crc32(end[:-4]):
        return ()
    magic, found, *fields = footer.unpack(end)
    return tuple(fields) if (magic, found) == (_MAGIC, version) else ()


def pack_key(diff_id: str, codec: Codec, version: int = PACK_VERSION) -> str:
    """Return the name of a layer's pack in the store: everything that decides its data and its index."""
    return _key(diff_id, f"{codec.name}{codec.level}", BLOCK_SIZE, version, codec.fingerprint)


def _key(diff_id: str, codec: str, block_size: int, version: int, fingerprint: str) -> str:
    return f"{pack_key_prefix(diff_id)}{codec}-{block_size >> 10}k-v{version}-{fingerprint}"


def is_alike(key: str, wanted: str) -> bool:
    """Whether a key is that of the same layer by the same codec, of whatever level and encoder."""
    mine, theirs = _KEY.match(wanted), _KEY.match(key)
    return mine is not None and theirs is not None and mine.groups() == theirs.groups()


def has_blocks(key: str, wanted: str) -> bool:
    """Tell whether a key is that of a pack of the present format, whose blocks squashfs knows by this name."""
    found = _CODEC.match(key)
    return found is not None and int(found[2]) == PACK_VERSION and block_format(found[1]) == wanted


def pack_key_prefix(diff_id: str) -> str:
    """Return the common prefix of the names of all packs of a layer."""
    return f"{diff_id.partition(':')[2]}-"
