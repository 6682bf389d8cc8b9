"""Parsing of OpenPGP signatures and keys of version 4 (RFC 9580, sections 5.2.3 and 5.5) without a library.

The library fails on an unknown hash, packet or subpacket without saying what it is; this module returns its number, so
that a message can name it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sifmake.signing.armor import SIGNATURE_TAG, VERSION_4, dearmored, packets
from sifmake.signing.metadata import MetadataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PUBLIC_KEY, PUBLIC_SUBKEY, USER_ID = 6, 14, 13
BINARY, TEXT, SUBKEY_BINDING, SUBKEY_REVOCATION = 0x00, 0x01, 0x18, 0x28
CREATED, EXPIRES, KEY_EXPIRES, ISSUER, ISSUER_FINGERPRINT = 2, 3, 9, 16, 33
"""Types of subpackets."""
_HASHES: Final[Mapping[int, str]] = {
    1: "MD5",
    2: "SHA1",
    3: "RipeMD",
    8: "SHA256",
    9: "SHA384",
    10: "SHA512",
    11: "SHA224",
    12: "SHA3-256",
    14: "SHA3-512",
}
_KEY_ID_DIGITS = 16
_NUMBER_BYTES = 4
"""Bytes of times and periods in subpackets."""


@dataclass(frozen=True)
class SignaturePacket:
    """The content of a version 4 signature; nothing of it is verified here.

    Attributes:
        body: The packet without its header.
        kind: Signature type.
        hash_name: Name of its hash, or its number if that is unknown.
        created: Its creation time; None if it has none.
        valid_for: How long it is valid; None for ever.
        key_valid_for: How long the key that it binds is valid; None for ever, or if it binds none.
        issuers: The signer according to the signed part: fingerprints and key IDs, lower-case hexadecimal.
        hints: The same from the unsigned part, which anyone can change.
    """

    body: bytes
    kind: int
    hash_name: str
    created: datetime | None
    valid_for: timedelta | None
    key_valid_for: timedelta | None
    issuers: frozenset[str]
    hints: frozenset[str]

    @property
    def claims(self) -> frozenset[str]:
        """The signer according to the signature: from the signed part, else a key ID from the other part, like gpg."""
        return self.issuers or frozenset(name for name in self.hints if len(name) == _KEY_ID_DIGITS) or self.hints

    def hinting_at(self, fingerprint: str) -> bytes:
        """Return the body with a single hint, the key ID of a key, in the unsigned part."""
        end = 6 + int.from_bytes(self.body[4:6])
        rest = self.body[end + 2 + int.from_bytes(self.body[end : end + 2]) :]
        hint = bytes([9, ISSUER]) + bytes.fromhex(_key_id(fingerprint))
        return self.body[:end] + len(hint).to_bytes(2) + hint + rest


def signatures_in(armor: bytes) -> list[SignaturePacket]:
    """Return the signatures in an armored block.

    Raises:
        MetadataError: It is damaged, or has other packets or signatures of another version.
    """
    try:
        found = packets(dearmored(armor))
        other = next((tag for tag, _ in found if tag != SIGNATURE_TAG), None)
        if other is not None:
            raise MetadataError(f"there is an OpenPGP packet of type {other} beside the signature")
        return [read_signature(body) for _, body in found]
    except (IndexError, ValueError):
        raise MetadataError("the OpenPGP signature is damaged") from None


def read_signature(body: bytes) -> SignaturePacket:
    """Read the body of a signature packet.

    Raises:
        MetadataError: Its version is not 4.
        ValueError, IndexError: It is damaged.
    """
    if body[0] != VERSION_4:
        raise MetadataError(f"the OpenPGP signature is of version {body[0]}; SIF files have version 4 only")
    end = 6 + int.from_bytes(body[4:6])
    unhashed = end + 2 + int.from_bytes(body[end : end + 2])
    if unhashed + 2 > len(body):
        raise ValueError
    signed = list(_subpackets(body[6:end]))
    if any(len(data) != _NUMBER_BYTES for kind, data in signed if kind in {CREATED, EXPIRES, KEY_EXPIRES}):
        raise ValueError
    created = next((int.from_bytes(data) for kind, data in signed if kind == CREATED), None)
    return SignaturePacket(
        body,
        body[1],
        _HASHES.get(body[3], str(body[3])),
        None if created is None else datetime.fromtimestamp(created, UTC),
        _shortest(signed, EXPIRES),
        _shortest(signed, KEY_EXPIRES),
        _issuers(signed),
        _issuers(_subpackets(body[end + 2 : unhashed])),
    )


def _subpackets(area: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield types and contents of the subpackets in an area; ``ValueError`` if they do not fill it exactly."""
    at = 0
    while at < len(area):
        first = area[at]
        if first < 192:
            start, size = at + 1, first
        elif first < 255:
            start, size = at + 2, ((first - 192) << 8) + area[at + 1] + 192
        else:
            start, size = at + 5, int.from_bytes(area[at + 1 : at + 5])
        if not 0 < size <= len(area) - start:
            raise ValueError
        yield area[start] & 0x7F, area[start + 1 : start + size]
        at = start + size


def _shortest(found: list[tuple[int, bytes]], wanted: int) -> timedelta | None:
    """Return the shortest period of a type; zero means for ever."""
    periods = [int.from_bytes(data) for kind, data in found if kind == wanted]
    return min((timedelta(seconds=period) for period in periods if period), default=None)


def _issuers(found: list[tuple[int, bytes]] | Iterator[tuple[int, bytes]]) -> frozenset[str]:
    """Return the keys that subpackets name as the signer."""
    names = {ISSUER: 0, ISSUER_FINGERPRINT: 1}
    return frozenset(data[names[kind] :].hex() for kind, data in found if kind in names)


def fingerprint_of(body: bytes) -> str:
    """Return the fingerprint of a key packet, lower-case hexadecimal; empty if its version is not 4."""
    if body[:1] != bytes([VERSION_4]) or len(body) > 0xFFFF:
        return ""
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2) + body, usedforsecurity=False).hexdigest()


def _key_id(fingerprint: str) -> str:
    """Return the key ID in a version 4 fingerprint."""
    return fingerprint[-_KEY_ID_DIGITS:]


def means(name: str, fingerprint: str) -> bool:
    """Whether a fingerprint or key ID names the key with a fingerprint, ignoring case."""
    name, fingerprint = name.lower(), fingerprint.lower()
    return name in {fingerprint, _key_id(fingerprint)}
