"""The records of the SIF format, version 01: the global header and the object descriptors, as bytes and as values.

All numbers are little-endian and packed without padding. Offsets in this module are absolute file offsets in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from sifmake.sif_table import DESCRIPTOR, HEADER

LAUNCH: Final = b"#!/usr/bin/env run-singularity\n"
TABLE_OFFSET: Final = 4096
DEFAULT_SLOTS: Final = 48
GROUP_MASK: Final = 0xF0000000
ZERO_TIME: Final = -62135596800
"""Unix seconds of 0001-01-01T00:00:00Z: the time in all fields of a deterministic SIF."""
NIL_UUID: Final = bytes(16)
NAME_BYTES: Final = 128
EXTRA_BYTES: Final = 384


class DataType(IntEnum):
    """What an object holds."""

    DEFINITION = 0x4001
    ENV_VARS = 0x4002
    LABELS = 0x4003
    PARTITION = 0x4004
    SIGNATURE = 0x4005
    GENERIC_JSON = 0x4006
    GENERIC = 0x4007
    CRYPT_MESSAGE = 0x4008
    SBOM = 0x4009
    OCI_ROOT_INDEX = 0x400A
    OCI_BLOB = 0x400B


_ARCHITECTURES: Final = (
    *("unknown", "386", "amd64", "arm", "arm64", "ppc64", "ppc64le"),
    *("mips", "mipsle", "mips64", "mips64le", "s390x", "riscv64", "loong64"),
)
"""Architectures in Go's spelling; the index in the tuple is the code in the file."""


def arch_code(name: str) -> bytes:
    """Return the three bytes for an architecture in Go's spelling.

    Raises:
        ValueError: The format has no code for it.
    """
    return b"%02d\0" % _ARCHITECTURES.index(name)


def arch_name(code: bytes) -> str:
    """Return the architecture of a three-byte code; "unknown" for codes that the format does not define."""
    digits = code[:2]
    known = digits.isdigit() and code[2:] == b"\0" and int(digits) < len(_ARCHITECTURES)
    return _ARCHITECTURES[int(digits)] if known else "unknown"


@dataclass(frozen=True, repr=False)
class Header:
    """The global header: the first 128 bytes of the file.

    Attributes:
        launch: Launch script, at most 31 bytes and padding.
        magic: ``MAGIC`` in every SIF.
        version: ``VERSION`` in every SIF that this module supports.
        arch: Three-byte code of the primary partition's architecture.
        uuid: Sixteen bytes that name the image; all zero in a deterministic SIF.
        created: Unix seconds.
        modified: Unix seconds.
        free: Descriptor slots that are not in use.
        total: Descriptor slots.
        table_offset: Where the descriptor table begins.
        table_size: Its size, bytes.
        data_offset: Where data may begin.
        data_size: From ``data_offset`` to the end of the last object, bytes.
    """

    launch: bytes
    magic: bytes
    version: bytes
    arch: bytes
    uuid: bytes
    created: int
    modified: int
    free: int
    total: int
    table_offset: int
    table_size: int
    data_offset: int
    data_size: int

    def __repr__(self) -> str:
        version = self.version.rstrip(b"\0").decode(errors="backslashreplace")
        used = self.total - self.free
        return f"Header(version={version!r}, arch={self.architecture!r}, objects={used}, slots={self.total})"

    @property
    def architecture(self) -> str:
        """Architecture of the primary partition in Go's spelling; "unknown" for other codes."""
        return arch_name(self.arch)

    def pack(self) -> bytes:
        """Return the 128 bytes."""
        times = (self.created, self.modified)
        places = (self.free, self.total, self.table_offset, self.table_size, self.data_offset, self.data_size)
        return HEADER.pack(self.launch, self.magic, self.version, self.arch, self.uuid, *times, *places)

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """Return the header in 128 bytes, unchecked."""
        return cls(*HEADER.unpack(data))

    @property
    def deterministic(self) -> bool:
        """Whether later edits must keep the times."""
        return self.uuid == NIL_UUID and self.created == self.modified == ZERO_TIME


@dataclass(frozen=True, repr=False)
class Descriptor:
    """One used slot of the descriptor table: 585 bytes.

    Attributes:
        slot: Place in the table, from 0; no part of the bytes.
        data_type: A ``DataType``, or a number unknown to this version.
        used: Raw flag, 1.
        id: Object number, from 1.
        group: Raw group field: ``GROUP_MASK`` or-ed with the group number.
        link: Raw link field: 0, an object number, or ``GROUP_MASK`` or-ed with a group number.
        offset: Where the data begins.
        size: Bytes of data.
        padded_size: Bytes of data and of the gap before it.
        created: Unix seconds.
        modified: Unix seconds.
        uid: Deprecated, 0.
        gid: Deprecated, 0.
        name: The 128 bytes of the name, padding included.
        extra: The 384 bytes whose meaning depends on the type, padding included.
    """

    slot: int
    data_type: int
    used: int
    id: int
    group: int
    link: int
    offset: int
    size: int
    padded_size: int
    created: int
    modified: int
    uid: int
    gid: int
    name: bytes
    extra: bytes

    def __repr__(self) -> str:
        kind = DataType(self.data_type).name if self.data_type in set(DataType) else f"{self.data_type:#x}"
        link = f"group {self.linked_group}" if self.linked_group else self.linked_object
        places = f"group={self.group_id}, link={link}, offset={self.offset}, size={self.size}"
        return f"Descriptor(id={self.id}, type={kind}, name={self.label!r}, {places})"

    def pack(self) -> bytes:
        """Return the 585 bytes."""
        ids = (self.data_type, self.used, self.id, self.group, self.link)
        places = (self.offset, self.size, self.padded_size, self.created, self.modified, self.uid, self.gid)
        return DESCRIPTOR.pack(*ids, *places, self.name, self.extra)

    @classmethod
    def unpack(cls, slot: int, data: bytes) -> Descriptor:
        """Return the descriptor in 585 bytes, unchecked."""
        return cls(slot, *DESCRIPTOR.unpack(data))

    @property
    def end(self) -> int:
        """Offset of the first byte after the data."""
        return self.offset + self.size

    @property
    def group_id(self) -> int:
        """Number of the object's group; 0 for none."""
        return self.group & ~GROUP_MASK

    @property
    def linked_group(self) -> int:
        """Number of the group that the object is linked to; 0 for none."""
        return self.link & ~GROUP_MASK if self.link & GROUP_MASK else 0

    @property
    def linked_object(self) -> int:
        """Number of the object that the object is linked to; 0 for none."""
        return 0 if self.link & GROUP_MASK else self.link

    @property
    def label(self) -> str:
        """The name as text, without padding."""
        return self.name.split(b"\0", 1)[0].decode(errors="backslashreplace")


def group_link(group: int) -> int:
    """Return the link field of an object that belongs to a whole group, as signatures do."""
    return GROUP_MASK | group
