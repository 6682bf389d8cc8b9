"""How the signers of one signature stand: whose keys they are, and whether the signature holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.sif import read_signature
from sifmake.signing import dsse
from sifmake.signing.verdict import SignerCheck, Verdict

if TYPE_CHECKING:
    from sifmake.sif import Descriptor
    from sifmake.signing.trust import TrustedKey, TrustStore


def judge_signers(signers: tuple[SignerCheck, ...]) -> tuple[Verdict, list[str]]:
    """Return how a signature with some signers stands: none may be bad or denied, and one must be trusted."""
    for level in (Verdict.INVALID, Verdict.REVOKED):
        reasons = [signer.reason for signer in signers if signer.verdict is level]
        if reasons:
            return level, reasons
    if any(signer.verdict is Verdict.VERIFIED for signer in signers):
        return Verdict.VERIFIED, []
    return Verdict.UNTRUSTED, [signer.reason for signer in signers]


def judge_envelope(envelope: dsse.Envelope, trust: TrustStore) -> tuple[SignerCheck, ...]:
    """Check the signatures of an envelope with the keys that they name, or with all where they name none."""
    message = dsse.pre_authentication(envelope.payload)
    return tuple(judge_raw(signature, message, trust) for signature in envelope.signatures)


def judge_raw(signature: dsse.DsseSignature, message: bytes, trust: TrustStore) -> SignerCheck:
    """Check one raw signature."""
    if signature.key_id in trust.denied:
        reason = f"key {signature.key_id} is on the deny list"
        return SignerCheck(signature.key_id, "", Verdict.REVOKED, reason)
    candidates = [key for key in trust.keys if signature.key_id in (key.key_id, "")]
    fitting = next((key for key in candidates if raw_holds(key, signature, message)), None)
    if fitting is not None and fitting.key_id in trust.denied:
        return SignerCheck(fitting.key_id, fitting.name, Verdict.REVOKED, f"key {fitting.key_id} is on the deny list")
    if fitting is not None:
        return SignerCheck(fitting.key_id, fitting.name, Verdict.VERIFIED, development=fitting.development)
    if signature.key_id and candidates:
        reason = f"the signature by key {signature.key_id} does not fit its text"
        return SignerCheck(signature.key_id, candidates[0].name, Verdict.INVALID, reason)
    name = f"key {signature.key_id}" if signature.key_id else "a key without a name"
    return SignerCheck(signature.key_id, "", Verdict.UNTRUSTED, f"{name} is not among the trusted keys")


def raw_holds(key: TrustedKey, signature: dsse.DsseSignature, message: bytes) -> bool:
    """Whether a raw signature fits a key."""
    from sifmake.signing.pem import verifies

    return verifies(key.key, signature.value, message)


def judge_cleartext(data: bytes, item: Descriptor, trust: TrustStore) -> tuple[SignerCheck, ...]:
    """Check an OpenPGP signature, and that the descriptor names the key that made it."""
    from sifmake.signing.openpgp import PgpState, verify

    result = verify(data, trust.certificates, trust.denied)
    verdict = {
        PgpState.GOOD: Verdict.VERIFIED,
        PgpState.INVALID: Verdict.INVALID,
        PgpState.UNKNOWN: Verdict.UNTRUSTED,
        PgpState.REVOKED: Verdict.REVOKED,
    }[result.state]
    named = read_signature(item)[1].hex().upper()
    if verdict is Verdict.VERIFIED and named != result.fingerprint:
        reason = f"the descriptor of signature {item.id} names another key than the one that made it"
        return (SignerCheck(result.fingerprint, result.name, Verdict.INVALID, reason),)
    return (SignerCheck(result.fingerprint, result.name, verdict, result.reason),)
