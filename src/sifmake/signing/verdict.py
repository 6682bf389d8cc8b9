"""How a SIF file stands: the values that verifying gives."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.errors import SigningError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sifmake.sif import Descriptor
    from sifmake.signing.coverage import Span


class Verdict(enum.IntEnum):
    """How a file stands; the value is the exit status of ``sifmake verify``."""

    VERIFIED = 0
    UNSIGNED = 10
    INVALID = 11
    UNTRUSTED = 12
    REVOKED = 13


SEVERITY = (Verdict.INVALID, Verdict.REVOKED, Verdict.UNTRUSTED, Verdict.UNSIGNED, Verdict.VERIFIED)
"""What decides where signatures differ, first things first."""


@dataclass(frozen=True)
class SignerCheck:
    """How one signer of one signature stands.

    Attributes:
        fingerprint: OpenPGP primary fingerprint or OpenSSH fingerprint; what the signature says where it is unknown.
        name: User ID, or name of the trusted key's file; empty where unknown.
        verdict: VERIFIED, or why not.
        reason: A clause; empty when verified.
        development: Whether it is the user's development key.
    """

    fingerprint: str
    name: str
    verdict: Verdict
    reason: str = ""
    development: bool = False


@dataclass(frozen=True)
class SignatureCheck:
    """How one signature object stands.

    Attributes:
        id: Its object number.
        group: The group that it is linked to.
        kind: "dsse", "pgp" or "legacy".
        verdict: VERIFIED, or why not.
        reasons: Clauses that say what is wrong.
        signers: Who signed.
        objects: Numbers of the objects that it names and that are as they were signed.
        walk: Numbers of the objects in their order up to the first that differs, and whether their data is as it was
            signed: what the peers tell of a signature whose signer they know.
    """

    id: int
    group: int
    kind: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    signers: tuple[SignerCheck, ...] = ()
    objects: tuple[int, ...] = ()
    walk: tuple[tuple[int, bool], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether no part of the signature was left unchecked."""
        return all(signer.verdict is Verdict.VERIFIED for signer in self.signers)


@dataclass(frozen=True)
class Verification:
    """How a SIF file stands.

    Attributes:
        path: The file.
        verdict: The outcome.
        reasons: Clauses that say why it is not verified.
        signatures: Each signature that was looked at.
        objects: The descriptors of the objects that good signatures cover.
        uncovered: The bytes that no signature covers.
        types: What each object of the file is, by number.
        unsigned: Groups that have no signature.
        cautions: Clauses about what no signature of a verified file says, and users may take for granted.
    """

    path: Path
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    signatures: tuple[SignatureCheck, ...] = ()
    objects: tuple[Descriptor, ...] = ()
    uncovered: tuple[Span, ...] = field(default=(), repr=False)
    types: Mapping[int, str] = field(default_factory=dict, repr=False)
    unsigned: tuple[int, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """Exit status of ``sifmake verify``."""
        return int(self.verdict)

    @property
    def signers(self) -> tuple[SignerCheck, ...]:
        """The signers whose signatures hold, each once."""
        found = {
            signer.fingerprint: signer
            for check in self.signatures
            for signer in check.signers
            if signer.verdict is Verdict.VERIFIED
        }
        return tuple(found.values())


_HINTS = {
    Verdict.UNSIGNED: "sifmake sign adds a signature",
    Verdict.INVALID: "do not use the file; build or fetch it again",
    Verdict.UNTRUSTED: "sifmake key import trusts a public key, --key names one for this time",
    Verdict.REVOKED: "ask the signer for a file that is signed with a key that is good",
}
_SHOWN_REASONS = 5


class NotVerifiedError(SigningError):
    """A SIF file is not signed, was altered, or is not signed by a trusted key.

    Attributes:
        verification: How it stands.
        exit_code: That of ``sifmake verify``.
    """

    def __init__(self, verification: Verification) -> None:
        reasons = "; ".join(dict.fromkeys(verification.reasons[:_SHOWN_REASONS]))
        super().__init__(reasons, where=str(verification.path), hint=_HINTS[verification.verdict])
        self.verification = verification
        self.exit_code = verification.exit_code
