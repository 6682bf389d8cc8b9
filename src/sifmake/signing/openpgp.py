"""OpenPGP in process, by ``pysequoia``: certificates, clear-signing, and verifying with reasons."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pysequoia
from pysequoia.packet import PacketPile, SignatureType, Tag

from sifmake.errors import KeyFileError, SigningError
from sifmake.sif import HashType
from sifmake.signing.armor import canonical
from sifmake.signing.cleartext import split
from sifmake.signing.key_forms import foreign_form
from sifmake.signing.metadata import MetadataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.signing.cleartext import ClearSigned
    from sifmake.signing.passphrase import Passphrase

FAILURES = (RuntimeError, ValueError, OSError)
"""What pysequoia raises; its messages carry a stack trace, so that only their first line is of use."""

STRONG = {"SHA224", "SHA256", "SHA384", "SHA512"}
HASH_TYPES = {"SHA256": HashType.SHA256, "SHA384": HashType.SHA384, "SHA512": HashType.SHA512}


class PgpState(enum.Enum):
    """How one clear-signed text stands."""

    GOOD = "good"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    REVOKED = "revoked"


@dataclass(frozen=True)
class Certificate:
    """An OpenPGP certificate, which is a public key with what belongs to it.

    Attributes:
        fingerprint: Of the primary key, upper-case hexadecimal.
        name: First user ID; may be empty.
        expires: When it ends, None for never.
        revoked: Whether its owner has revoked it.
        keys: Fingerprints and key IDs of primary key and subkeys, lower-case hexadecimal.
        cert: The library's object.
        usable: Whether its own signatures are there and strong enough; else nothing is known of its limits.
    """

    fingerprint: str
    name: str
    expires: datetime | None
    revoked: bool
    keys: frozenset[str]
    cert: pysequoia.Cert
    usable: bool = True


@dataclass(frozen=True)
class PgpResult:
    """What verifying a clear-signed text gave.

    Attributes:
        state: How it stands.
        fingerprint: Primary fingerprint of the signer, else what the signature says about its key.
        name: User ID of the signer; empty where unknown.
        reason: A clause that says why it is not good; empty if it is.
    """

    state: PgpState
    fingerprint: str = ""
    name: str = ""
    reason: str = ""


def read_certificates(data: bytes, where: str) -> list[Certificate]:
    """Read the certificates in an armored or binary file.

    Raises:
        KeyFileError: It holds none, is damaged, or holds secret keys.
    """
    try:
        certs = pysequoia.Cert.split_bytes(data)
    except FAILURES:
        certs = []
    if not certs:
        what = "not an OpenPGP certificate" if b"-----BEGIN PGP " in data else "not a key"
        hint = "a public PEM key or what gpg --export writes is wanted"
        raise foreign_form(data, where) or KeyFileError(what, where=where, hint=hint)
    if any(packet.tag in (Tag.SecretKey, Tag.SecretSubkey) for packet in packets(data)):
        raise KeyFileError("holds a secret OpenPGP key", where=where, hint="use what gpg --export writes")
    return [certificate(cert) for cert in certs]


def united(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return each certificate once, with what all its copies say, so that a revocation in one of them counts."""
    found: dict[str, Certificate] = {}
    for item in certificates:
        known = found.get(item.fingerprint)
        found[item.fingerprint] = item if known is None else certificate(known.cert.merge(item.cert))
    return tuple(found.values())


def certificate(cert: pysequoia.Cert) -> Certificate:
    """Return what is asked of a certificate in one value."""
    keys = {name for packet in packets(bytes(cert)) if is_key(packet) for name in (packet.fingerprint, packet.key_id)}
    known = frozenset(key for key in keys if key)
    fingerprint = cert.fingerprint.upper()
    try:
        return Certificate(fingerprint, first_user(cert), cert.expiration, cert.is_revoked, known, cert)
    except FAILURES:
        return Certificate(fingerprint, "", None, revoked=False, keys=known, cert=cert, usable=False)


def first_user(cert: pysequoia.Cert) -> str:
    """Return the first user ID of a certificate; empty if it has none."""
    return next((str(user) for user in cert.user_ids), "")


def packets(data: bytes) -> list[Any]:
    """Return the OpenPGP packets in data; MetadataError if they cannot be read."""
    try:
        return list(PacketPile.from_bytes(data))
    except FAILURES:
        raise MetadataError("damaged OpenPGP packets") from None


def is_key(packet: Any) -> bool:
    """Whether a packet holds a public key or subkey."""
    return packet.tag in (Tag.PublicKey, Tag.PublicSubkey)


def verify(data: bytes, certificates: Iterable[Certificate], denied: frozenset[str]) -> PgpResult:
    """Verify the data of a signature object; every signature in it must hold.

    Args:
        data: The clear-signed text, as it stands in the file.
        certificates: Those that are trusted.
        denied: Fingerprints that are not accepted, upper-case hexadecimal.

    Raises:
        MetadataError: It is no clear-signed text.
    """
    signed = split(data)
    armor = canonical(signed.armor)
    found = [item for item in packets(armor) if item.tag == Tag.Signature]
    weak = [name for item in found if (name := str(item.hash_algorithm).rpartition(".")[2]) not in STRONG]
    if not found or weak:
        reason = f"the signature uses the weak hash {weak[0]}" if weak else "there is no signature in the armor"
        return PgpResult(PgpState.INVALID, reason=reason)
    known = list(certificates)
    results = [judge_issuer(item, known, denied) for item in found]
    bad = next((item for item in results if item.state is not PgpState.GOOD), None)
    if bad is not None:
        return bad
    frame = data[: signed.start + len(signed.text)] + b"\n" + armor
    return results[0] if holds(frame, signed, known, len(found)) else broken(results[0])


def broken(result: PgpResult) -> PgpResult:
    """Return the result for a signature by a known key that does not hold."""
    return PgpResult(PgpState.INVALID, result.fingerprint, result.name, "the signature does not fit its text")


def judge_issuer(signature: Any, certificates: Iterable[Certificate], denied: frozenset[str]) -> PgpResult:
    """Say whether the key that a signature names is known, allowed and alive; the signature itself is not checked."""
    issuer = signature.issuer_fingerprint or signature.issuer_key_id or ""
    signer = next((item for item in certificates if issuer in item.keys), None)
    if issuer.upper() in denied or (signer is not None and signer.fingerprint in denied):
        fingerprint = signer.fingerprint if signer is not None else issuer.upper()
        return PgpResult(PgpState.REVOKED, fingerprint, reason=f"key {fingerprint} is on the deny list")
    if signer is None:
        return PgpResult(PgpState.UNKNOWN, issuer.upper(), reason=f"key {issuer.upper()} is not among the trusted keys")
    if not signer.usable:
        reason = f"key {signer.fingerprint} has no strong signature of its own that says what it is good for"
        return PgpResult(PgpState.UNKNOWN, signer.fingerprint, reason=reason)
    now = datetime.now(UTC)
    ended = list(key_ends(signer, issuer, now))
    expiry = signature.signature_expiration_time
    if expiry is not None and expiry < now:
        ended.append(f"the signature expired on {expiry:%Y-%m-%d}")
    if ended:
        return PgpResult(PgpState.REVOKED, signer.fingerprint, signer.name, ended[0])
    return PgpResult(PgpState.GOOD, signer.fingerprint, signer.name)


def key_ends(signer: Certificate, issuer: str, now: datetime) -> Iterator[str]:
    """Give the reasons why a certificate or the signing key in it is not good any more."""
    if signer.revoked:
        yield f"key {signer.fingerprint} is revoked"
    if signer.expires is not None and signer.expires < now:
        yield f"key {signer.fingerprint} expired on {signer.expires:%Y-%m-%d}"
    created: datetime | None = None
    inside = False
    newest: Any = None
    for packet in packets(bytes(signer.cert)):
        if is_key(packet):
            inside = issuer in (packet.fingerprint, packet.key_id)
            created = packet.key_created if inside else created
        elif inside and packet.signature_type == SignatureType.SubkeyRevocation:
            yield f"signing subkey {issuer.upper()} is revoked"
        elif inside and packet.signature_type == SignatureType.SubkeyBinding:
            newest = max(newest or packet, packet, key=lambda item: item.signature_created or now)
    period = newest.key_validity_period if newest is not None else None
    if created is not None and period and created + period < now:
        yield f"signing subkey {issuer.upper()} expired on {created + period:%Y-%m-%d}"


def holds(data: bytes, signed: ClearSigned, certificates: list[Certificate], count: int) -> bool:
    """Whether all ``count`` signatures over a text are valid and by known keys, and the text is the one we read."""

    def wanted(names: list[str]) -> list[pysequoia.Cert]:
        return [item.cert for item in certificates if item.keys & {name.lower() for name in names}]

    try:
        result = pysequoia.verify(data, store=wanted)
    except FAILURES:
        return False
    text = (result.bytes or b"").replace(b"\r\n", b"\n")
    return len(result.valid_sigs) == count and text == signed.text.replace(b"\r\n", b"\n")


@dataclass(frozen=True)
class OpenPgpSigner:
    """Clear-signs with a secret key from a file.

    Attributes:
        fingerprint: Primary fingerprint, upper-case hexadecimal.
        name: User ID.
        handle: The library's signer.
    """

    fingerprint: str
    name: str
    handle: pysequoia.PySigner

    kind = "pgp"

    @property
    def entity(self) -> bytes:
        """The bytes of the fingerprint for the signature's descriptor."""
        return bytes.fromhex(self.fingerprint)

    def sign(self, message: bytes) -> bytes:
        """Return the clear-signed message; it carries a random salt, so that no two are equal."""
        try:
            return pysequoia.sign(self.handle, message, mode=pysequoia.SignatureMode.CLEAR)
        except FAILURES as error:
            raise SigningError(f"OpenPGP cannot sign: {first_line(error)}", where=self.fingerprint) from None


def load_signer(data: bytes, where: str, passphrase: Passphrase) -> OpenPgpSigner:
    """Read a secret key, armored or binary.

    Raises:
        KeyFileError: It is no secret key that can sign now, has no version 4 fingerprint, or the passphrase is wrong.
    """
    if b"-----BEGIN PGP PUBLIC KEY BLOCK-----" in data:
        raise KeyFileError("this is a public key", where=where, hint="signing takes the private key")
    try:
        key = pysequoia.Tsk.from_bytes(data)
        cert = key.extract_certificate()
    except FAILURES:
        raise no_single_key(data, where) from None
    if len(cert.fingerprint) != 40:
        raise KeyFileError("SIF signatures name OpenPGP keys of version 4 only", where=where)
    handle = signing_handle(key, where, passphrase)
    return OpenPgpSigner(cert.fingerprint.upper(), first_user(cert), handle)


def no_single_key(data: bytes, where: str) -> KeyFileError:
    """Return the error for a file from which no secret key can be read."""
    try:
        count = len(pysequoia.Cert.split_bytes(data))
    except FAILURES:
        count = 0
    if count > 1:
        hint = "write one into a file of its own: gpg --export-secret-keys FPR, apptainer key export --secret FILE"
        return KeyFileError(f"holds {count} OpenPGP keys", where=where, hint=hint)
    hint = "a private PEM key or what gpg --export-secret-keys writes is wanted"
    return foreign_form(data, where) or KeyFileError("not a key", where=where, hint=hint)


def signing_handle(key: pysequoia.Tsk, where: str, passphrase: Passphrase) -> pysequoia.PySigner:
    """Return a signer for a secret key; the passphrase is asked for only if it needs one."""
    try:
        return key.signer()
    except FAILURES as error:
        if "encrypted" not in str(error).lower():
            hint = "it needs a secret key with the sign flag that is neither expired nor revoked"
            raise KeyFileError(f"cannot sign: {first_line(error)}", where=where, hint=hint) from None
    secret = passphrase(where)
    try:
        return key.signer(secret)
    except FAILURES:
        raise passphrase.wrong(where) from None


def hash_type(message: bytes) -> HashType:
    """Return the hash of a clear-signed message as the signature's descriptor names it.

    Raises:
        SigningError: The message is not one, or its hash is none that the format knows.
    """
    try:
        found = packets(split(message).armor)
        return HASH_TYPES[str(found[0].hash_algorithm).rpartition(".")[2]]
    except (MetadataError, IndexError, KeyError):
        raise SigningError("the OpenPGP signature is not clear-signed by SHA-256, SHA-384 or SHA-512") from None


def first_line(error: BaseException) -> str:
    """Return an error's text without the stack trace that the library adds."""
    return str(error).split("\n", 1)[0]
