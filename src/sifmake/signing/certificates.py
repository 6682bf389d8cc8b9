"""OpenPGP certificates with ``pysequoia``: reading them, merging copies, and finding expired or revoked keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pysequoia
from pysequoia.packet import PacketPile, Tag

from sifmake.errors import KeyFileError
from sifmake.signing.armor import SIGNATURE_TAG, packets
from sifmake.signing.key_forms import foreign_form
from sifmake.signing.key_packets import check_packets
from sifmake.signing.metadata import MetadataError
from sifmake.signing.pgp_packets import (
    PUBLIC_KEY,
    PUBLIC_SUBKEY,
    SUBKEY_BINDING,
    SUBKEY_REVOCATION,
    USER_ID,
    fingerprint_of,
    read_signature,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pysequoia.packet import Packet

    from sifmake.signing.pgp_packets import SignaturePacket

FAILURES = (RuntimeError, ValueError, OSError)
"""Errors of pysequoia; only the first line of their messages is useful, the rest is a stack trace."""
_DAMAGED_HINT = "ask the owner for the key again, exported with `gpg --armor --export FINGERPRINT`"


@dataclass(frozen=True)
class Certificate:
    """An OpenPGP certificate: a public key with its user IDs, subkeys and signatures.

    Attributes:
        fingerprint: Fingerprint of the primary key, upper-case hexadecimal.
        name: First user ID; may be empty.
        expires: When it expires; None for never.
        revoked: Whether its owner has revoked it.
        keys: Fingerprints of primary key and subkeys of version 4, lower-case hexadecimal.
        cert: The library's object.
        usable: Whether its self-signatures exist and are strong enough; otherwise its expiry and flags are unknown.
    """

    fingerprint: str
    name: str
    expires: datetime | None
    revoked: bool
    keys: tuple[str, ...]
    cert: pysequoia.Cert
    usable: bool = True


def read_certificates(data: bytes, where: str) -> list[Certificate]:
    """Read the certificates in an armored or binary file.

    Raises:
        KeyFileError: The file has no certificate, is damaged, or contains secret keys.
    """
    check_packets(data, where)
    try:
        certs = pysequoia.Cert.split_bytes(data)
    except FAILURES:
        certs = []
    if not certs:
        what = "not an OpenPGP certificate" if b"-----BEGIN PGP " in data else "not a key"
        hint = "use a public PEM key, or the output of `gpg --export`"
        raise foreign_form(data, where) or KeyFileError(what, where=where, hint=hint)
    try:
        if any(_is_secret(packet) for packet in PacketPile.from_bytes(data)):
            raise KeyFileError(
                "the file contains a secret OpenPGP key", where=where, hint="use the output of `gpg --export`"
            )
        return [_whole(_certificate(cert)) for cert in certs]
    except (*FAILURES, IndexError):
        raise KeyFileError("the OpenPGP certificate is damaged", where=where, hint=_DAMAGED_HINT) from None


def _is_secret(packet: Packet) -> bool:
    """Whether a packet contains a secret key or subkey; the library fails on unknown tags."""
    try:
        return packet.tag in (Tag.SecretKey, Tag.SecretSubkey)
    except FAILURES:
        return False


def _whole(found: Certificate) -> Certificate:
    """Return a certificate; ``ValueError`` if the key has neither a user ID nor a self-signature."""
    if not found.usable and all(tag != USER_ID for tag, _ in packets(bytes(found.cert))):
        raise ValueError
    return found


def united(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return each certificate once, merged from all its copies, so that a revocation in any copy is effective."""
    found: dict[str, Certificate] = {}
    for item in certificates:
        known = found.get(item.fingerprint)
        found[item.fingerprint] = item if known is None else _certificate(known.cert.merge(item.cert))
    return tuple(found.values())


def _certificate(cert: pysequoia.Cert) -> Certificate:
    """Return the needed parts of a certificate; raises the library's errors if it is damaged."""
    bodies = (body for tag, body in packets(bytes(cert)) if tag in {PUBLIC_KEY, PUBLIC_SUBKEY})
    keys = tuple(name for body in bodies if (name := fingerprint_of(body)))
    fingerprint = cert.fingerprint.upper()
    try:
        return Certificate(fingerprint, first_user(cert), cert.expiration, cert.is_revoked, keys, cert)
    except FAILURES:
        return Certificate(fingerprint, "", None, revoked=False, keys=keys, cert=cert, usable=False)


def first_user(cert: pysequoia.Cert) -> str:
    """Return the first user ID of a certificate; empty if it has none."""
    return next((str(user) for user in cert.user_ids), "")


def key_ends(owner: Certificate, key: str) -> Iterator[str]:
    """Yield the reasons why a certificate, or one of its keys, is no longer valid."""
    now = datetime.now(UTC)
    if owner.revoked:
        yield f"key {owner.fingerprint} is revoked"
    if owner.expires is not None and owner.expires < now:
        yield f"key {owner.fingerprint} expired on {owner.expires:%Y-%m-%d}"
    body, bindings = _own_signatures(owner, key)
    if any(item.kind == SUBKEY_REVOCATION for item in bindings):
        yield f"signing subkey {key.upper()} is revoked"
    said = [item for item in bindings if item.kind == SUBKEY_BINDING and item.created and item.created <= now]
    newest = max(said, key=lambda item: item.created or now, default=None)
    if newest is not None and newest.key_valid_for is not None:
        end = datetime.fromtimestamp(int.from_bytes(body[1:5]), UTC) + newest.key_valid_for
        if end < now:
            yield f"signing subkey {key.upper()} expired on {end:%Y-%m-%d}"


def _own_signatures(owner: Certificate, key: str) -> tuple[bytes, list[SignaturePacket]]:
    """Return the body of a key packet and the following signatures that the primary key made.

    Signatures of other versions are ignored.
    """
    found: list[SignaturePacket] = []
    primary, body, inside = b"", b"", False
    for tag, content in packets(bytes(owner.cert)):
        if tag in {PUBLIC_KEY, PUBLIC_SUBKEY}:
            primary = content if tag == PUBLIC_KEY else primary
            inside = fingerprint_of(content) == key
            body = content if inside else body
        elif tag == SIGNATURE_TAG and inside:
            try:
                one = read_signature(content)
            except (MetadataError, ValueError, IndexError):
                continue
            if body == primary or _is_owners(primary, body, one):
                found.append(one)
    return body, found


def _is_owners(primary: bytes, subkey: bytes, signature: SignaturePacket) -> bool:
    """Whether the owner made a signature on a subkey, because anyone can add one to a copy of a certificate."""
    from sifmake.signing.primary_signature import made_by_primary

    return made_by_primary(primary, subkey, signature.body) is not False
