"""Header and descriptors as the text that ``sif list`` and ``sif header`` print, in the peers' format."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sifmake.sif.extra import FsType, HashType, PartType, read_partition, read_signature
from sifmake.sif.format import NIL_UUID, ZERO_TIME, DataType, arch_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sifmake.sif.format import Descriptor, Header

TYPE_LABELS = {
    DataType.DEFINITION: "Def.FILE",
    DataType.ENV_VARS: "Env.Vars",
    DataType.LABELS: "JSON.Labels",
    DataType.PARTITION: "FS",
    DataType.SIGNATURE: "Signature",
    DataType.GENERIC_JSON: "JSON.Generic",
    DataType.GENERIC: "Generic/Raw",
    DataType.CRYPT_MESSAGE: "Cryptographic Message",
    DataType.SBOM: "SBOM",
    DataType.OCI_ROOT_INDEX: "OCI.RootIndex",
    DataType.OCI_BLOB: "OCI.Blob",
}
_FS_LABELS = {
    FsType.SQUASHFS: "Squashfs",
    FsType.EXT3: "Ext3",
    FsType.ARCHIVE: "Archive",
    FsType.RAW: "Raw",
    FsType.ENCRYPTED_SQUASHFS: "Encrypted squashfs",
    FsType.GOCRYPTFS_SQUASHFS: "Gocryptfs squashfs",
}
_PART_LABELS = {
    PartType.SYSTEM: "System",
    PartType.PRIMARY_SYSTEM: "*System",
    PartType.DATA: "Data",
    PartType.OVERLAY: "Overlay",
}
_HASH_LABELS = {
    HashType.SHA256: "SHA-256",
    HashType.SHA384: "SHA-384",
    HashType.SHA512: "SHA-512",
    HashType.BLAKE2S_256: "BLAKE2s-256",
    HashType.BLAKE2B_256: "BLAKE2b-256",
}
_RULE = "-" * 78


def _type_label(item: Descriptor) -> str:
    """Return the type of an object with the details from its extra data, such as ``FS (Squashfs/*System/amd64)``."""
    label = name_of(TYPE_LABELS, item.data_type)
    part = read_partition(item)
    if part is not None:
        return f"{label} ({name_of(_FS_LABELS, part.fs_type)}/{name_of(_PART_LABELS, part.part_type)}/{part.arch_name})"
    if item.data_type == DataType.SIGNATURE:
        return f"{label} ({name_of(_HASH_LABELS, read_signature(item)[0])})"
    return label


def name_of(labels: Mapping[Any, str], number: int) -> str:
    """Return the label for a number of the format, or the number if the format does not define it."""
    return labels.get(number, f"Unknown ({number:#x})")


def _link_label(item: Descriptor) -> str:
    """Return what an object is linked to, with ``(G)`` after groups."""
    if item.linked_group:
        return f"{item.linked_group:<4}(G)"
    return str(item.linked_object) if item.linked_object else "NONE"


def list_lines(objects: Iterable[Descriptor], *, position: bool = True) -> list[str]:
    """Return the table of objects; ``position`` adds the column of file offsets."""
    place = f"{'SIF POSITION (start-end)':<26}|" if position else ""
    lines = [_RULE, f"{'ID':<5}|{'GROUP':<8}|{'LINK':<8}|{place}TYPE", _RULE]
    for item in objects:
        group = item.group_id or "NONE"
        place = f"{f'{item.offset}-{item.end}':<26}|" if position else ""
        lines.append(f"{item.id:<5}|{group!s:<8}|{_link_label(item):<8}|{place}{_type_label(item)}")
    return lines


def header_lines(header: Header) -> list[str]:
    """Return the header, one field per line; the identity and times of a deterministic file are left out."""
    fields = {
        "Launch Script": header.launch.split(b"\0", 1)[0].decode(errors="backslashreplace").strip(),
        "Version": header.version.rstrip(b"\0").decode(),
        "Primary Architecture": arch_name(header.arch),
        "ID": "" if header.uuid == NIL_UUID else str(uuid.UUID(bytes=header.uuid)),
        "Created At": _time_text(header.created),
        "Modified At": _time_text(header.modified),
        "Descriptors Free": str(header.free),
        "Descriptors Total": str(header.total),
        "Descriptors Offset": str(header.table_offset),
        "Descriptors Size": f"{header.table_size} bytes",
        "Data Offset": str(header.data_offset),
        "Data Size": f"{header.data_size} bytes",
    }
    return [f"{name + ':':<22}{value}" for name, value in fields.items() if value]


def info_lines(item: Descriptor) -> list[str]:
    """Return the fields of a descriptor, one per line."""
    part = read_partition(item)
    hash_type, fingerprint = read_signature(item) if item.data_type == DataType.SIGNATURE else (0, b"")
    fields = {
        "Data Type": name_of(TYPE_LABELS, item.data_type),
        "ID": str(item.id),
        "Group ID": str(item.group_id or ""),
        "Linked Group ID": str(item.linked_group or ""),
        "Linked ID": str(item.linked_object or ""),
        "Offset": str(item.offset),
        "Size": f"{item.size} bytes",
        "Created At": _time_text(item.created),
        "Modified At": _time_text(item.modified),
        "Name": item.name.split(b"\0", 1)[0].decode(errors="backslashreplace"),
        "Filesystem Type": name_of(_FS_LABELS, part.fs_type) if part else "",
        "Partition Type": name_of(_PART_LABELS, part.part_type) if part else "",
        "Architecture": part.arch_name if part else "",
        "Hash Type": name_of(_HASH_LABELS, hash_type) if hash_type else "",
        "Entity": fingerprint.hex().upper() if any(fingerprint) else "",
    }
    return [f"{name + ':':<22}{value}" for name, value in fields.items() if value]


def _time_text(seconds: int) -> str:
    """Return Unix seconds as RFC 3339 in UTC; empty for the time of deterministic files."""
    if seconds == ZERO_TIME:
        return ""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"{seconds} s after 1970"
