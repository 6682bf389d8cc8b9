"""Verifying a SIF file: every signature must be valid, every group signed, every object of a group covered."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sifmake.errors import SifError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.sif import DataType, HashType, NotSifError, problems, read_sif, read_signature
from sifmake.sif.format import NIL_UUID
from sifmake.sif.listing import TYPE_LABELS, name_of
from sifmake.signing import cleartext, dsse, metadata
from sifmake.signing.coverage import uncovered
from sifmake.signing.hashing import ObjectHashes
from sifmake.signing.judge import count_cleartext, judge_cleartext, judge_envelope, judge_signers
from sifmake.signing.metadata import Metadata, MetadataError
from sifmake.signing.sign import signature_kind
from sifmake.signing.verdict import SEVERITY, SignatureCheck, SignerCheck, Verdict, Verification

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sifmake.limits import Limits
    from sifmake.sif import Descriptor, Sif
    from sifmake.signing.metadata import Mismatch
    from sifmake.signing.trust import TrustStore


def verify_file(
    path: Path,
    trust: TrustStore,
    *,
    group: int | None = None,
    object_id: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Verification:
    """Verify a SIF file with local keys, without any network access.

    Args:
        path: The file.
        trust: The keys.
        group: Check this group only.
        object_id: Check this object only.
        limits: Limits on the number and size of signatures.

    Raises:
        NotSifError: The file is not a SIF file.
        SifError: There is no such group or object.
        OSError: The file cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return verify_open(fd, path, trust, group=group, object_id=object_id, limits=limits)
    finally:
        os.close(fd)


def verify_open(
    fd: int,
    path: Path,
    trust: TrustStore,
    *,
    group: int | None = None,
    object_id: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Verification:
    """Verify the SIF file that is open as ``fd``; ``path`` is used for messages only.

    The other arguments and the errors are the same as for ``verify_file``.
    """
    try:
        sif = read_sif(fd, path)
        return _Verifier(sif, trust, object_id, limits).run(_wanted_groups(sif, group, object_id))
    except (NotSifError, _MissingError):
        raise
    except SifError as error:
        return Verification(path, Verdict.INVALID, (error.what,))


class _MissingError(SifError):
    """The requested group or object is not in the file."""


def _wanted_groups(sif: Sif, group: int | None, object_id: int | None) -> list[int]:
    """Return the groups to check."""
    groups = {item.group_id for item in sif.objects if item.group_id}
    where = str(sif.path)
    if object_id is not None:
        owner = next((item.group_id for item in sif.objects if item.id == object_id), None)
        if not owner or (group is not None and owner != group):
            raise _MissingError(f"no group has an object {object_id}", where=where)
        return [owner]
    if group is not None and group not in groups:
        raise _MissingError(f"there is no object group {group}", where=where)
    return sorted(groups) if group is None else [group]


class _Verifier:
    """Checks one open file; the data of each object is read at most once."""

    def __init__(self, sif: Sif, trust: TrustStore, object_id: int | None, limits: Limits) -> None:
        self.sif = sif
        self.trust = trust
        self.object_id = object_id
        self.limits = limits
        self.looked_at = 0
        self.hashes = ObjectHashes(sif)

    def run(self, groups: list[int]) -> Verification:
        """Check all signatures of some groups."""
        found = self.sif.find(DataType.SIGNATURE)
        self.check_count(len(found))
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
            tuple(self.cautions({check.group for check in good})),
        )

    def cautions(self, signed: set[int]) -> Iterator[str]:
        """Yield clauses about what the signatures of some groups do not guarantee."""
        if len(signed) > 1 and self.sif.header.uuid == NIL_UUID:
            names = ", ".join(map(str, sorted(signed)))
            yield f"object groups {names} are signed one by one, and no UUID says that they belong to one file"

    def unsigned(self, *, legacy: bool) -> Verification:
        """Return the verdict for a file without valid kinds of signatures."""
        reason = (
            "it has signatures in the legacy format only, which protect neither header nor descriptors"
            if legacy
            else "it is not signed"
        )
        return Verification(self.sif.path, Verdict.UNSIGNED, (reason,), uncovered=uncovered(self.sif, (), ()))

    def is_legacy(self, item: Descriptor) -> bool:
        """Whether a signature has the legacy format."""
        return item.size <= self.limits.signature_bytes and signature_kind(self.sif.read(item)) == "legacy"

    def file_findings(self, groups: Iterable[int], checks: Iterable[SignatureCheck]) -> list[str]:
        """Return the problems of a file as a whole, if anything in it is signed."""
        found = problems(self.sif)
        signed = {check.group for check in checks}
        found += [f"object group {number} is not signed" for number in groups if number not in signed]
        for item in self.sif.objects:
            if not item.group_id and item.data_type != DataType.SIGNATURE:
                found.append(f"object {item.id} is in no group, so that no signature covers it")
        return found

    def check(self, item: Descriptor) -> SignatureCheck:
        """Check one signature: who made it, and whether the file is unchanged."""
        try:
            data = self.read(item)
            kind = signature_kind(data)
            if kind == "legacy":
                return SignatureCheck(item.id, item.linked_group, kind, Verdict.UNSIGNED)
            if kind == "dsse":
                envelope = dsse.decode(data)
                self.count(len(envelope.signatures))
                signed = metadata.decode(envelope.payload)
                signers = judge_envelope(envelope, self.trust)
            else:
                signed = metadata.decode(cleartext.split(data).text)
                self.count(count_cleartext(data))
                signers = judge_cleartext(data, item, self.trust)
        except (MetadataError, SifError) as error:
            reason = f"signature {item.id}: {error.what}"
            return SignatureCheck(item.id, item.linked_group, "invalid", Verdict.INVALID, (reason,))
        return self.compared(item, kind, signers, signed)

    def read(self, item: Descriptor) -> bytes:
        """Return the data of a signature; SifError if it is too large."""
        most = self.limits.signature_bytes
        if item.size > most:
            raise SifError(f"it has {item.size} bytes, at most {most} are read (limit signature-bytes)")
        return self.sif.read(item, most)

    def count(self, number: int) -> None:
        """Count signatures; SifError if the file has too many."""
        self.looked_at += number
        self.check_count(self.looked_at)

    def check_count(self, number: int) -> None:
        """Raise SifError if the file has too many signatures."""
        most = self.limits.signatures
        if number > most:
            raise SifError(f"the file has {number} signatures, at most {most} are checked (limit signatures)")

    def compared(
        self, item: Descriptor, kind: str, signers: tuple[SignerCheck, ...], signed: Metadata
    ) -> SignatureCheck:
        """Compare a signature with the file, and combine that with the verdict on its signers."""
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
            () if missing else tuple(_walk(sorted(entries), wrong)),
        )


def _walk(numbers: Iterable[int], wrong: Iterable[Mismatch]) -> Iterator[tuple[int, bool]]:
    """Yield objects up to the first that differs, including it if only its data does; none if the header differs."""
    first = {mismatch.id: mismatch for mismatch in reversed(list(wrong))}
    for number in () if 0 in first else numbers:
        if number not in first:
            yield number, True
            continue
        if first[number].data:
            yield number, False
        return
