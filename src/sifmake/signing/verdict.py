"""The results of verifying a SIF file, as values."""

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
    """The verdict on a file; the value is the exit status of ``sifmake verify``."""

    VERIFIED = 0
    UNSIGNED = 10
    INVALID = 11
    UNTRUSTED = 12
    REVOKED = 13


SEVERITY = (Verdict.INVALID, Verdict.REVOKED, Verdict.UNTRUSTED, Verdict.UNSIGNED, Verdict.VERIFIED)
"""The order in which verdicts take precedence if signatures differ."""


@dataclass(frozen=True)
class SignerCheck:
    """The verdict on one signer of one signature.

    Attributes:
        fingerprint: OpenPGP primary fingerprint or OpenSSH fingerprint; if unknown, what the signature says.
        name: User ID, or name of the trusted key's file; empty if unknown.
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
    """The verdict on one signature object.

    Attributes:
        id: Its object number.
        group: The group to which it is linked.
        kind: "dsse", "pgp" or "legacy".
        verdict: VERIFIED, or why not.
        reasons: Clauses that say what is wrong.
        signers: The signers.
        objects: Numbers of the objects that it names and that are unchanged since they were signed.
        walk: Numbers of the objects in order up to the first that differs, and whether their data is unchanged; the
            peers print this for a signature whose signer they know.
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
        """Whether all parts of the signature were checked."""
        return all(signer.verdict is Verdict.VERIFIED for signer in self.signers)


@dataclass(frozen=True)
class Verification:
    """The result of verifying a SIF file.

    Attributes:
        path: The file.
        verdict: The verdict.
        reasons: Clauses that say why it is not verified.
        signatures: Each signature that was checked.
        objects: The descriptors of the objects that good signatures cover.
        uncovered: The bytes that no signature covers.
        types: The type of each object, by number.
        unsigned: Groups without a signature.
        cautions: Clauses about things that users may expect but no signature of a verified file guarantees.
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
        """The signers with valid signatures, each once."""
        found = {
            signer.fingerprint: signer
            for check in self.signatures
            for signer in check.signers
            if signer.verdict is Verdict.VERIFIED
        }
        return tuple(found.values())


_HINTS = {
    Verdict.UNSIGNED: "run `sifmake sign` to add a signature",
    Verdict.INVALID: "do not use the file; build or fetch it again",
    Verdict.UNTRUSTED: "run `sifmake key import FILE` to trust its public key, or use --key FILE once",
    Verdict.REVOKED: "ask the signer for a file that is signed with a valid key",
}
_SHOWN_REASONS = 5


class NotVerifiedError(SigningError):
    """A SIF file is not signed, was altered, or is not signed by a trusted key.

    Attributes:
        verification: The result of verifying it.
        exit_code: Exit status of ``sifmake verify``.
    """

    def __init__(self, verification: Verification) -> None:
        reasons = "; ".join(dict.fromkeys(verification.reasons[:_SHOWN_REASONS]))
        super().__init__(reasons, where=str(verification.path), hint=_HINTS[verification.verdict])
        self.verification = verification
        self.exit_code = verification.exit_code
