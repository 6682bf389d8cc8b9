"""The document that a SIF signature signs: JSON with the digests of header, descriptors and objects of one group."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sifmake.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sifmake.sif import Descriptor, Header

_SIGNED_DESCRIPTOR: Final = struct.Struct("<iBIIqqqq128s384s")
HASHES: Final[Mapping[str, str]] = {
    "sha224": "sha224",
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
    "sha512_224": "sha512_224",
    "sha512_256": "sha512_256",
}
"""Names of the accepted hashes, as in hashlib; weaker ones are refused."""


class MetadataError(SigningError):
    """Signed metadata does not have the form of a SIF signature."""


@dataclass(frozen=True)
class Digest:
    """A hash and its value.

    Attributes:
        name: Name of the hash, one of ``HASHES``.
        value: Hexadecimal digits.
    """

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}:{self.value}"


@dataclass(frozen=True)
class SignedObject:
    """The digests of one object; its number is relative to the lowest in the group."""

    relative_id: int
    descriptor: Digest
    data: Digest


@dataclass(frozen=True)
class Mismatch:
    """A difference between a signed document and a file.

    Attributes:
        id: Object number; 0 for the header.
        reason: A clause.
        data: Whether the object's data differs, rather than its descriptor.
    """

    id: int
    reason: str
    data: bool = False


@dataclass(frozen=True)
class Metadata:
    """The signed document."""

    header: Digest
    objects: tuple[SignedObject, ...]

    def encode(self) -> bytes:
        """Return compact JSON with the keys in the order of the reference library."""
        objects = [
            {
                "relativeId": item.relative_id,
                "descriptorDigest": str(item.descriptor),
                "objectDigest": str(item.data),
            }
            for item in self.objects
        ]
        document = {"version": 1, "header": {"digest": str(self.header)}, "objects": objects}
        return json.dumps(document, separators=(",", ":")).encode()


def build(header: Header, objects: Sequence[Descriptor], lowest: int, data_digests: Mapping[int, str]) -> Metadata:
    """Return the document that covers some objects of a group.

    Args:
        header: The header of the file.
        objects: The objects to cover.
        lowest: Lowest object number in their group.
        data_digests: SHA-256 of each object's data by object number, hexadecimal.
    """
    signed = tuple(
        SignedObject(
            item.id - lowest,
            Digest("sha256", _descriptor_digest(item, lowest, "sha256")),
            Digest("sha256", data_digests[item.id]),
        )
        for item in sorted(objects, key=lambda item: item.id)
    )
    return Metadata(Digest("sha256", _header_digest(header, "sha256")), signed)


def _header_digest(header: Header, name: str) -> str:
    """Return the digest of launch script, magic, version and UUID; the other header fields are not covered."""
    raw = header.pack()
    return hashlib.new(name, raw[:45] + raw[48:64]).hexdigest()


def _descriptor_digest(item: Descriptor, lowest: int, name: str) -> str:
    """Return the digest of a descriptor without its offset, group and modification time."""
    flags = (item.data_type, item.used, item.id - lowest, item.link)
    numbers = (item.size, item.created, item.uid, item.gid)
    return hashlib.new(name, _SIGNED_DESCRIPTOR.pack(*flags, *numbers, item.name, item.extra)).hexdigest()


def decode(message: bytes) -> Metadata:
    """Read a signed document.

    Raises:
        MetadataError: The form is wrong, the version is unknown, or it uses a weak hash.
    """
    try:
        document = json.loads(message.decode())
        version = document["version"]
        header = _read_digest(document["header"]["digest"])
        objects = tuple(_read_object(item) for item in document["objects"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise MetadataError("the signed metadata is not in the form of a SIF signature") from None
    if version != 1:
        raise MetadataError(f"the signed metadata has the unknown version {version!r:.20}")
    if len({item.relative_id for item in objects}) != len(objects):
        raise MetadataError("the signed metadata names an object twice")
    return Metadata(header, objects)


def _read_object(item: Any) -> SignedObject:
    """Read one entry of ``objects``."""
    number = item["relativeId"]
    if type(number) is not int or not 0 <= number < 1 << 32:
        raise ValueError
    return SignedObject(number, _read_digest(item["descriptorDigest"]), _read_digest(item["objectDigest"]))


def _read_digest(text: str) -> Digest:
    """Read ``NAME:HEX``."""
    name, _, value = text.partition(":")
    if name not in HASHES:
        raise MetadataError(f"the signed metadata uses the hash {name!r:.20}, which is weak or unknown")
    if len(bytes.fromhex(value)) != hashlib.new(name).digest_size:
        raise ValueError
    return Digest(name, value.lower())


def mismatches(
    metadata: Metadata,
    header: Header,
    objects: Mapping[int, Descriptor],
    lowest: int,
    data_digest: Callable[[Descriptor, str], str],
) -> list[Mismatch]:
    """Compare a signed document with a file.

    Args:
        metadata: The signed document.
        header: The header of the file.
        objects: The objects of the group by number.
        lowest: Lowest object number in the group.
        data_digest: Returns the hexadecimal digest of an object's data with the named hash.

    Returns:
        The differences, in the order of the objects.
    """
    found: list[Mismatch] = []
    if _header_digest(header, metadata.header.name) != metadata.header.value:
        found.append(Mismatch(0, "the header was changed"))
    for signed in metadata.objects:
        item = objects.get(signed.relative_id + lowest)
        if item is None:
            number = signed.relative_id + lowest
            found.append(Mismatch(number, f"signed object {number} is missing"))
            continue
        if _descriptor_digest(item, lowest, signed.descriptor.name) != signed.descriptor.value:
            found.append(Mismatch(item.id, f"the descriptor of object {item.id} was changed"))
        if data_digest(item, signed.data.name) != signed.data.value:
            found.append(Mismatch(item.id, f"the data of object {item.id} was changed", data=True))
    return found
