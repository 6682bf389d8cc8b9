"""Adding signatures to a SIF file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.errors import SigningError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.sif import DataType, NewObject, group_link, signature_extra
from sifmake.sif.append import Addition, append_objects, open_for_append
from sifmake.signing import dsse, metadata
from sifmake.signing.hashing import ObjectHashes
from sifmake.signing.signer import signature_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sifmake.sif import Descriptor, Sif
    from sifmake.signing.signer import Signer

_LEGACY = b"SIFHASH:"
_KIND_NAMES = {"dsse": "PEM keys (DSSE)", "pgp": "OpenPGP"}


@dataclass(frozen=True)
class SignatureInfo:
    """The result of signing.

    Attributes:
        kind: "dsse" or "pgp".
        fingerprint: Fingerprint of the signer.
        objects: Numbers of the signed objects.
        signatures: Numbers of the new signature objects.
        earlier: Numbers of earlier signatures of the same groups.
    """

    kind: str
    fingerprint: str
    objects: tuple[int, ...]
    signatures: tuple[int, ...]
    earlier: tuple[int, ...]


def sign_file(
    source: Path,
    target: Path,
    signer: Signer,
    object_digests: Mapping[int, str] | None = None,
    *,
    group: int | None = None,
    object_id: int | None = None,
) -> SignatureInfo:
    """Write a signed SIF: one signature for each object group.

    Args:
        source: The SIF file.
        target: The signed file; if it is ``source``, the signature is appended to that file. After an error both are
            unchanged.
        signer: The signer.
        object_digests: SHA-256 of the objects' data by object number, hexadecimal, if known from the build; missing
            ones are computed from the file in one pass.
        group: Sign this group only.
        object_id: Sign this object only; the peers verify such a signature only if asked for that object.

    Raises:
        SigningError: There is nothing to sign, or the file is signed with the other kind of key.
        SifError: The source is not a valid SIF file, or has no room for a signature.
    """
    with open_for_append(source, target) as sif:
        chosen = _choose(sif, group, object_id)
        earlier = _refuse_mixing(sif, signer, set(chosen))
        known = dict(object_digests or {})
        additions = [_addition(sif, number, objects, signer, known) for number, objects in chosen.items()]
        added = append_objects(sif, additions)
    objects = tuple(sorted(item.id for part in chosen.values() for item in part))
    return SignatureInfo(signer.kind, signer.fingerprint, objects, tuple(item.id for item in added), earlier)


def _choose(sif: Sif, group: int | None, object_id: int | None) -> dict[int, list[Descriptor]]:
    """Return the objects to sign by group."""
    where = str(sif.path)
    for item in sif.objects:
        if not item.group_id and item.data_type != DataType.SIGNATURE:
            raise SigningError(f"object {item.id} is not in a group, so no signature can cover it", where=where)
    if object_id is not None:
        item = sif.get(object_id)
        if not item.group_id or (group is not None and item.group_id != group):
            raise SigningError(f"object {object_id} is not in a group to sign", where=where)
        return {item.group_id: [item]}
    groups = sorted({item.group_id for item in sif.objects if item.group_id})
    if group is not None and group not in groups:
        raise SigningError(f"there is no object group {group}", where=where)
    if not groups:
        raise SigningError("there are no objects to sign", where=where)
    return {number: sif.find(group=number) for number in ([group] if group is not None else groups)}


def _refuse_mixing(sif: Sif, signer: Signer, groups: set[int]) -> tuple[int, ...]:
    """Return the numbers of earlier signatures of some groups; SigningError if the file has any of the other kind."""
    earlier: list[int] = []
    for item in sif.find(DataType.SIGNATURE):
        kind = signature_kind(sif.read(item, DEFAULT_LIMITS.signature_bytes))
        if kind not in (signer.kind, "legacy"):
            raise SigningError(
                f"the file is signed with {_KIND_NAMES[kind]}, so {_KIND_NAMES[signer.kind]} cannot be added",
                where=str(sif.path),
                hint="use the same kind of key, or build the file again",
            )
        if item.linked_group in groups and kind != "legacy":
            earlier.append(item.id)
    return tuple(earlier)


def signature_kind(data: bytes) -> str:
    """Return "dsse", "pgp", or "legacy" for the old format that does not protect header and descriptors."""
    if dsse.looks_like_envelope(data):
        return "dsse"
    return "legacy" if _LEGACY in data[:256] else "pgp"


def _addition(
    sif: Sif, group: int, objects: Sequence[Descriptor], signer: Signer, digests: Mapping[int, str]
) -> Addition:
    """Return the signature object for some objects of a group."""
    hashes = ObjectHashes(sif)
    data_digests = {item.id: digests.get(item.id) or hashes.digest(item, "sha256") for item in objects}
    lowest = min(item.id for item in sif.find(group=group))
    data = signer.sign(metadata.build(sif.header, objects, lowest, data_digests).encode())
    extra = signature_extra(signature_hash(signer, data), signer.entity)
    item = NewObject(DataType.SIGNATURE, len(data), group=0, link=group_link(group), extra=extra)
    return Addition(item, data)
