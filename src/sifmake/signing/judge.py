"""Judge the signers of one signature: which keys they used, and whether the signature is valid."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from sifmake.sif import read_signature
from sifmake.signing import dsse
from sifmake.signing.verdict import SignerCheck, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.sif import Descriptor
    from sifmake.signing.trust import TrustedKey, TrustStore


_OTHER_KEYS = 64
"""Most keys to try on a raw signature, in addition to the key that it names."""


def judge_signers(signers: tuple[SignerCheck, ...]) -> tuple[Verdict, list[str]]:
    """Return the verdict on a signature with some signers: none may be bad or denied, and one must be trusted."""
    for level in (Verdict.INVALID, Verdict.REVOKED):
        reasons = [signer.reason for signer in signers if signer.verdict is level]
        if reasons:
            return level, reasons
    if any(signer.verdict is Verdict.VERIFIED for signer in signers):
        return Verdict.VERIFIED, []
    return Verdict.UNTRUSTED, [signer.reason for signer in signers]


def judge_envelope(envelope: dsse.Envelope, trust: TrustStore) -> tuple[SignerCheck, ...]:
    """Check the signatures of an envelope.

    The name of a key in an envelope is not signed. It is only a hint about which key to try first; the deny list
    applies to the key that made the signature, whatever the envelope calls it.
    """
    message = dsse.pre_authentication(envelope.payload, envelope.payload_type)
    return tuple(_judge_raw(signature, message, trust) for signature in envelope.signatures)


def _judge_raw(signature: dsse.DsseSignature, message: bytes, trust: TrustStore) -> SignerCheck:
    """Check one raw signature."""
    maker = next((key for key in _raw_candidates(signature, trust) if _raw_holds(key, signature, message)), None)
    denied = next((name for name in (maker and maker.key_id, signature.key_id) if name in trust.denied), None)
    if denied:
        name = maker.name if maker is not None and maker.key_id == denied else ""
        return SignerCheck(denied, name, Verdict.REVOKED, f"key {denied} is on the deny list")
    if maker is not None and signature.key_id in (maker.key_id, ""):
        return SignerCheck(maker.key_id, maker.name, Verdict.VERIFIED, development=maker.development)
    named = next((key for key in trust.keys if key.key_id == signature.key_id), None)
    if named is not None:
        reason = f"the signature by key {signature.key_id} does not fit its text"
        return SignerCheck(signature.key_id, named.name, Verdict.INVALID, reason)
    name = f"key {signature.key_id}" if signature.key_id else "a key without a name"
    return SignerCheck(signature.key_id, "", Verdict.UNTRUSTED, f"{name} is not among the trusted keys")


def _raw_candidates(signature: dsse.DsseSignature, trust: TrustStore) -> Iterator[TrustedKey]:
    """Yield the keys that may have made a raw signature, first the one that it names."""
    yield from (key for key in trust.keys if key.key_id == signature.key_id)
    yield from itertools.islice((key for key in trust.keys if key.key_id != signature.key_id), _OTHER_KEYS)


def _raw_holds(key: TrustedKey, signature: dsse.DsseSignature, message: bytes) -> bool:
    """Whether a key made a raw signature."""
    from sifmake.signing.pem import verifies

    return verifies(key.key, signature.value, message)


def count_cleartext(data: bytes) -> int:
    """Return how many signatures a clear-signed text has; MetadataError if they cannot be read."""
    from sifmake.signing.openpgp import count_signatures

    return count_signatures(data)


def judge_cleartext(data: bytes, item: Descriptor, trust: TrustStore) -> tuple[SignerCheck, ...]:
    """Check an OpenPGP signature, and that the descriptor names a key that made it."""
    from sifmake.signing.openpgp import PgpState, verify

    result = verify(data, trust.certificates, trust.denied)
    verdict = {
        PgpState.GOOD: Verdict.VERIFIED,
        PgpState.INVALID: Verdict.INVALID,
        PgpState.UNKNOWN: Verdict.UNTRUSTED,
        PgpState.REVOKED: Verdict.REVOKED,
    }[result.state]
    named = read_signature(item)[1].hex().upper()
    makers = (result, *result.others)
    if verdict is Verdict.VERIFIED and all(maker.fingerprint != named for maker in makers):
        reason = f"the descriptor of signature {item.id} names another key than the one that made it"
        return (SignerCheck(result.fingerprint, result.name, Verdict.INVALID, reason),)
    return tuple(SignerCheck(maker.fingerprint, maker.name, verdict, maker.reason) for maker in makers)
