"""The type-specific 384 bytes of a descriptor."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from sifmake.sif.format import DataType, arch_code, arch_name

if TYPE_CHECKING:
    from sifmake.sif.format import Descriptor

_FINGERPRINT_BYTES = 20


class FsType(IntEnum):
    """File system of a partition."""

    SQUASHFS = 1
    EXT3 = 2
    ARCHIVE = 3
    RAW = 4
    ENCRYPTED_SQUASHFS = 5
    GOCRYPTFS_SQUASHFS = 6


class PartType(IntEnum):
    """What a partition is for."""

    SYSTEM = 1
    PRIMARY_SYSTEM = 2
    DATA = 3
    OVERLAY = 4


class HashType(IntEnum):
    """Hash function named in a signature's descriptor."""

    SHA256 = 1
    SHA384 = 2
    SHA512 = 3
    BLAKE2S_256 = 4
    BLAKE2B_256 = 5


class Partition(NamedTuple):
    """The fields of a partition's descriptor; numbers that the format does not define are kept."""

    fs_type: int
    part_type: int
    arch: bytes

    @property
    def arch_name(self) -> str:
        """Architecture in Go's spelling."""
        return arch_name(self.arch)

    @property
    def primary(self) -> bool:
        """Whether this is the root file system."""
        return self.part_type == PartType.PRIMARY_SYSTEM


def partition_extra(fs_type: FsType, part_type: PartType, arch: str) -> bytes:
    """Return the extra bytes of a partition; ``arch`` in Go's spelling, ``ValueError`` if the format has no code."""
    return struct.pack("<ii3s", fs_type, part_type, arch_code(arch))


def read_partition(descriptor: Descriptor) -> Partition | None:
    """Return the partition fields of a descriptor; None for objects that are not partitions."""
    if descriptor.data_type != DataType.PARTITION:
        return None
    return Partition(*struct.unpack_from("<ii3s", descriptor.extra))


def signature_extra(hash_type: HashType, fingerprint: bytes = b"") -> bytes:
    """Return the extra bytes of a signature: its hash and the primary OpenPGP fingerprint, empty for DSSE."""
    return struct.pack("<i", hash_type) + fingerprint


def read_signature(descriptor: Descriptor) -> tuple[int, bytes]:
    """Return hash type and the 20 bytes of the signer's fingerprint of a signature's descriptor."""
    (hash_type,) = struct.unpack_from("<i", descriptor.extra)
    return hash_type, descriptor.extra[4 : 4 + _FINGERPRINT_BYTES]


def digest_extra(digest: str) -> bytes:
    """Return the extra bytes of an OCI blob or root index: ``sha256:`` and 64 hexadecimal digits."""
    return digest.encode("ascii")
