"""OpenPGP clear-signed texts: find the trusted key that made each signature, and judge that key.

A signature says who made it, mostly in a part that is not signed, so this is only used as a hint: each signature is
checked with one key at a time, and the key with which it verifies is the one that is judged and reported. The signed
part must name the same key. ``pysequoia`` does the cryptography.
"""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pysequoia

from sifmake.signing.armor import SIGNATURE_TAG, armored, canonical, packed
from sifmake.signing.certificates import FAILURES, key_ends
from sifmake.signing.cleartext import split
from sifmake.signing.pgp_packets import BINARY, TEXT, means, signatures_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sifmake.signing.certificates import Certificate
    from sifmake.signing.cleartext import ClearSigned
    from sifmake.signing.pgp_packets import SignaturePacket

_STRONG = {"SHA224", "SHA256", "SHA384", "SHA512"}
_WEAK = {"MD5", "SHA1", "RipeMD"}
_OTHER_KEYS = 64
"""Most keys to try on a signature, in addition to the keys that it names."""


class PgpState(enum.Enum):
    """The state of one clear-signed text, the worst first."""

    INVALID = "invalid"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    GOOD = "good"


@dataclass(frozen=True)
class PgpResult:
    """The result of verifying a clear-signed text.

    Attributes:
        state: The state of the text.
        fingerprint: Primary fingerprint of the key that made it, else what the signature says about its key.
        name: User ID of the signer; empty if unknown.
        reason: A clause that says why it is not good; empty if it is.
        others: Results of the further signatures of a good text; all are good.
    """

    state: PgpState
    fingerprint: str = ""
    name: str = ""
    reason: str = ""
    others: tuple[PgpResult, ...] = ()


def count_signatures(data: bytes) -> int:
    """Return how many signatures a clear-signed text has; raises the errors of :func:`verify`."""
    return len(signatures_in(split(data).armor))


def verify(data: bytes, certificates: Iterable[Certificate], denied: frozenset[str]) -> PgpResult:
    """Verify the data of a signature object; every signature in it must be valid.

    Args:
        data: The clear-signed text, as it is in the file.
        certificates: The trusted certificates.
        denied: Fingerprints of denied keys and subkeys, upper-case hexadecimal.

    Returns:
        The result of the worst of its signatures.

    Raises:
        MetadataError: The data is not a clear-signed text.
    """
    signed = split(data)
    found = signatures_in(canonical(signed.armor))
    if not found:
        return PgpResult(PgpState.INVALID, reason="there is no signature in the armor")
    checker = _Checker(data, signed, tuple(certificates), denied)
    results = [checker.check(item) for item in found]
    worst = min(results, key=lambda item: list(PgpState).index(item.state))
    return worst if worst.state is not PgpState.GOOD else replace(results[0], others=tuple(results[1:]))


@dataclass(frozen=True)
class _Checker:
    """Checks the signatures of one text.

    Attributes:
        data: The clear-signed text.
        signed: The same text, split into its parts.
        certificates: The trusted certificates.
        denied: Denied fingerprints, upper-case hexadecimal.
    """

    data: bytes
    signed: ClearSigned
    certificates: tuple[Certificate, ...]
    denied: frozenset[str]

    def check(self, signature: SignaturePacket) -> PgpResult:
        """Find the key that made a signature, and judge it."""
        if reason := _unfit(signature):
            return PgpResult(PgpState.INVALID, reason=reason)
        maker = next((pair for pair in self.candidates(signature) if self.made_by(signature, *pair)), None)
        return self.without_maker(signature) if maker is None else self.judge(signature, *maker)

    def candidates(self, signature: SignaturePacket) -> Iterator[tuple[Certificate, str]]:
        """Yield the keys that may have made a signature, first those that it names."""
        pairs = [(owner, key) for owner in self.certificates for key in owner.keys]
        names = signature.issuers | signature.hints
        yield from (pair for pair in pairs if _is_named(pair[1], names))
        yield from itertools.islice((pair for pair in pairs if not _is_named(pair[1], names)), _OTHER_KEYS)

    def made_by(self, signature: SignaturePacket, owner: Certificate, key: str) -> bool:
        """Whether a key made a signature of the text."""
        packet = packed(SIGNATURE_TAG, signature.hinting_at(key))
        frame = self.data[: self.signed.start + len(self.signed.text)] + b"\n" + armored(packet)
        try:
            result = pysequoia.verify(frame, store=lambda _: [owner.cert])
        except FAILURES:
            return False
        text = (result.bytes or b"").replace(b"\r\n", b"\n")
        makers = [valid.signing_key for valid in result.valid_sigs]
        return makers == [key] and text == self.signed.text.replace(b"\r\n", b"\n")

    def judge(self, signature: SignaturePacket, owner: Certificate, key: str) -> PgpResult:
        """Judge a signature that was made by a key of a certificate."""
        result = PgpResult(PgpState.GOOD, owner.fingerprint, owner.name)
        other = next((name for name in sorted(signature.issuers) if not means(name, key)), None)
        if other is not None:
            reason = f"the signature names key {other.upper()} and was made by key {key.upper()}"
            return replace(result, state=PgpState.INVALID, reason=reason)
        ended = [*self.denials(key), *key_ends(owner, key)]
        return replace(result, state=PgpState.REVOKED, reason=ended[0]) if ended else result

    def denials(self, key: str) -> Iterator[str]:
        """Yield the reasons why the deny list refuses a key: the key itself, or a certificate that it belongs to."""
        owners = [item.fingerprint for item in self.certificates if key in item.keys]
        yield from (f"key {name} is on the deny list" for name in [*owners, key.upper()] if name in self.denied)

    def without_maker(self, signature: SignaturePacket) -> PgpResult:
        """Judge a signature that no trusted key has made, from what it says about its key."""
        names = signature.claims
        shown = max(names, key=len, default="").upper()
        denied = sorted(item for item in self.denied if _is_named(item, names))
        pairs = [(owner, key) for owner in self.certificates for key in owner.keys if _is_named(key, names)]
        ended = [f"key {item} is on the deny list" for item in denied]
        ended += [reason for _, key in pairs for reason in self.denials(key)]
        ended += [reason for owner, key in pairs if owner.usable for reason in key_ends(owner, key)]
        ended += _signature_ends(signature) if pairs else []
        owner = pairs[0][0] if pairs else None
        if ended:
            fingerprint = owner.fingerprint if owner is not None else denied[0]
            return PgpResult(PgpState.REVOKED, fingerprint, "", ended[0])
        if owner is None:
            what = f"key {shown}" if shown else "a key without a name"
            return PgpResult(PgpState.UNKNOWN, shown, reason=f"{what} is not among the trusted keys")
        if not owner.usable:
            reason = f"key {owner.fingerprint} has no strong signature of its own that says what it is good for"
            return PgpResult(PgpState.UNKNOWN, owner.fingerprint, reason=reason)
        return PgpResult(PgpState.INVALID, owner.fingerprint, owner.name, "the signature does not fit its text")


def _unfit(signature: SignaturePacket) -> str:
    """Return why a signature is refused regardless of its key; empty if it is not."""
    name = signature.hash_name
    if name in _WEAK:
        return f"the signature uses the weak hash {name}"
    if name not in _STRONG:
        return f"the signature uses the hash {name}, which is not supported"
    return "" if signature.kind in {BINARY, TEXT} else f"the signature is of type {signature.kind}, not of a text"


def _is_named(fingerprint: str, names: Iterable[str]) -> bool:
    """Whether one of some fingerprints and key IDs names a key."""
    return any(means(name, fingerprint) for name in names)


def _signature_ends(signature: SignaturePacket) -> Iterator[str]:
    """Yield the reason why a signature has expired, for which the library reports no signer at all."""
    if signature.created is not None and signature.valid_for is not None:
        end = signature.created + signature.valid_for
        if end < datetime.now(UTC):
            yield f"the signature expired on {end:%Y-%m-%d}"
