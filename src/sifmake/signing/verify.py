"""Verifying the signatures of a SIF file: every one must hold, every group be signed, every object of it covered."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.errors import SifError
from sifmake.sif import DataType, HashType, NotSifError, open_sif, problems, read_signature
from sifmake.sif.listing import TYPE_LABELS, name_of
from sifmake.signing import cleartext, dsse, metadata
from sifmake.signing.coverage import uncovered
from sifmake.signing.hashing import ObjectHashes
from sifmake.signing.metadata import Metadata, MetadataError
from sifmake.signing.sign import SIGNATURE_BYTES, signature_kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from sifmake.sif import Descriptor, Sif
    from sifmake.signing.coverage import Span
    from sifmake.signing.metadata import Mismatch
    from sifmake.signing.trust import TrustedKey, TrustStore


class Verdict(enum.IntEnum):
    """How a file stands; the value is the exit status of ``sifmake verify``."""

    VERIFIED = 0
    UNSIGNED = 10
    INVALID = 11
    UNTRUSTED = 12
    REVOKED = 13


MAX_SIGNATURES = 256
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
    """

    path: Path
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    signatures: tuple[SignatureCheck, ...] = ()
    objects: tuple[Descriptor, ...] = ()
    uncovered: tuple[Span, ...] = ()
    types: Mapping[int, str] = field(default_factory=dict)
    unsigned: tuple[int, ...] = ()

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


def verify_file(
    path: Path, trust: TrustStore, *, group: int | None = None, object_id: int | None = None
) -> Verification:
    """Verify a SIF file against keys that are at hand; the network is never asked.

    Args:
        path: The file.
        trust: The keys.
        group: Look at this group only.
        object_id: Look at this object only.

    Raises:
        NotSifError: The file is no SIF at all.
        SifError: There is no such group or object.
        OSError: It cannot be read.
    """
    try:
        with open_sif(path) as sif:
            return Verifier(sif, trust, object_id).run(wanted_groups(sif, group, object_id))
    except (NotSifError, MissingError):
        raise
    except SifError as error:
        return Verification(path, Verdict.INVALID, (error.what,))


class MissingError(SifError):
    """The group or object that was asked for is not in the file."""


def wanted_groups(sif: Sif, group: int | None, object_id: int | None) -> list[int]:
    """Return the groups to look at."""
    groups = {item.group_id for item in sif.objects if item.group_id}
    where = str(sif.path)
    if object_id is not None:
        owner = next((item.group_id for item in sif.objects if item.id == object_id), None)
        if not owner or (group is not None and owner != group):
            raise MissingError(f"there is no object {object_id} in a group", where=where)
        return [owner]
    if group is not None and group not in groups:
        raise MissingError(f"there is no object group {group}", where=where)
    return sorted(groups) if group is None else [group]


class Verifier:
    """Looks at one open file; the data of each object is read at most once."""

    def __init__(self, sif: Sif, trust: TrustStore, object_id: int | None) -> None:
        self.sif = sif
        self.trust = trust
        self.object_id = object_id
        self.hashes = ObjectHashes(sif)

    def run(self, groups: list[int]) -> Verification:
        """Check all signatures of some groups."""
        found = self.sif.find(DataType.SIGNATURE)
        if len(found) > MAX_SIGNATURES:
            raise SifError(f"the file has {len(found)} signatures, at most {MAX_SIGNATURES} are looked at")
        checks = [self.check(item) for item in found if item.linked_group in groups]
        legacy = any(self.is_legacy(item) for item in found)
        modern = [check for check in checks if check.kind != "legacy"]
        if not modern:
            return self.unsigned(legacy=legacy)
        findings = [(check.verdict, reason) for check in modern for reason in check.reasons]
        findings += [(Verdict.INVALID, reason) for reason in self.file_findings(groups, modern)]
        verdict = next(level for level in SEVERITY if level in {*(found for found, _ in findings), Verdict.VERIFIED})
        good = [check for check in modern if check.verdict is Verdict.VERIFIED] if not verdict else []
        covered = {number for check in good for number in check.objects}
        return Verification(
            self.sif.path,
            verdict,
            tuple(reason for level, reason in findings if level is verdict),
            tuple(checks),
            tuple(item for item in self.sif.objects if item.id in covered),
            uncovered(self.sif, covered, (check.id for check in checks if not check.complete or check not in good)),
            {item.id: name_of(TYPE_LABELS, item.data_type) for item in self.sif.objects},
            tuple(sorted(set(groups) - {check.group for check in modern})),
        )

    def unsigned(self, *, legacy: bool) -> Verification:
        """Return the verdict for a file in which nothing that counts is signed."""
        reason = (
            "it has signatures in the legacy format only, which protect neither header nor descriptors"
            if legacy
            else "it is not signed"
        )
        return Verification(self.sif.path, Verdict.UNSIGNED, (reason,), uncovered=uncovered(self.sif, (), ()))

    def is_legacy(self, item: Descriptor) -> bool:
        """Whether a signature is in the format of old."""
        return item.size <= SIGNATURE_BYTES and signature_kind(self.sif.read(item)) == "legacy"

    def file_findings(self, groups: Iterable[int], checks: Iterable[SignatureCheck]) -> list[str]:
        """Return what is wrong with the file as a whole once something in it is signed."""
        found = problems(self.sif)
        signed = {check.group for check in checks}
        found += [f"object group {number} is not signed" for number in groups if number not in signed]
        for item in self.sif.objects:
            if not item.group_id and item.data_type != DataType.SIGNATURE:
                found.append(f"object {item.id} is in no group, so that no signature covers it")
        return found

    def check(self, item: Descriptor) -> SignatureCheck:
        """Check one signature: who made it, and whether the file is as it was signed."""
        try:
            data = self.sif.read(item, SIGNATURE_BYTES)
            kind = signature_kind(data)
            if kind == "legacy":
                return SignatureCheck(item.id, item.linked_group, kind, Verdict.UNSIGNED)
            if kind == "dsse":
                envelope = dsse.decode(data)
                signers, signed = judge_envelope(envelope, self.trust), metadata.decode(envelope.payload)
            else:
                signers, signed = judge_cleartext(data, item, self.trust), metadata.decode(cleartext.split(data).text)
        except (MetadataError, SifError) as error:
            reason = f"signature {item.id}: {error.what}"
            return SignatureCheck(item.id, item.linked_group, "invalid", Verdict.INVALID, (reason,))
        return self.compared(item, kind, signers, signed)

    def compared(
        self, item: Descriptor, kind: str, signers: tuple[SignerCheck, ...], signed: Metadata
    ) -> SignatureCheck:
        """Compare what a signature says with the file, and join that with how its signers stand."""
        members = {member.id: member for member in self.sif.find(group=item.linked_group)}
        lowest = min(members)
        entries = {entry.relative_id + lowest: entry for entry in signed.objects}
        if self.object_id is not None:
            entries = {number: entry for number, entry in entries.items() if number == self.object_id}
        signed = Metadata(signed.header, tuple(entries.values()))
        wrong = metadata.mismatches(signed, self.sif.header, members, lowest, self.hashes.digest)
        wanted = set(members) if self.object_id is None else {self.object_id}
        missing = sorted(wanted - entries.keys())
        reasons = [mismatch.reason for mismatch in wrong]
        reasons += [f"object {number} is not signed by signature {item.id}" for number in missing]
        if read_signature(item)[0] not in set(HashType):
            reasons.append(f"the descriptor of signature {item.id} names no known hash")
        level, trust_reasons = judge_signers(signers)
        verdict = Verdict.INVALID if reasons else level
        return SignatureCheck(
            item.id,
            item.linked_group,
            kind,
            verdict,
            (*reasons, *(trust_reasons if level is verdict else ())),
            signers,
            tuple(sorted((entries.keys() & set(members)) - {mismatch.id for mismatch in wrong})),
            () if missing else tuple(walk(sorted(entries), wrong)),
        )


def walk(numbers: Iterable[int], wrong: Iterable[Mismatch]) -> Iterator[tuple[int, bool]]:
    """Give objects up to the first that differs, and that one if only its data does; none if the header differs."""
    first = {mismatch.id: mismatch for mismatch in reversed(list(wrong))}
    for number in () if 0 in first else numbers:
        if number not in first:
            yield number, True
            continue
        if first[number].data:
            yield number, False
        return


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
