"""``sifmake verify``: check the digital signatures of a SIF file."""

from __future__ import annotations

import math
import re
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.api.signatures import verify
from sifmake.cli.sign_command import add_selectors
from sifmake.cli.subcommands import examples
from sifmake.errors import SifError, describe_os_error
from sifmake.printing import print_error, print_json, print_lines
from sifmake.sif.listing import list_lines
from sifmake.signing.coverage import oddities
from sifmake.signing.verdict import NotVerifiedError, Verdict

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from sifmake.signing.verdict import SignatureCheck, Verification

_WORST = (0, 1, 10, 12, 13, 11)
"""Exit statuses, from best to worst."""
_OBJECT_NUMBER = re.compile("^descriptor of object [0-9]+:.*")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--key",
        action="append",
        type=Path,
        metavar="FILE",
        help="public key (PEM, OpenPGP, or a folder of them) to trust instead of your trusted keys; repeatable",
    )
    parser.add_argument(
        "--deny", type=Path, metavar="FILE", help="file with fingerprints to refuse, one per line; # begins a comment"
    )
    parser.add_argument("-j", "--json", action="store_true", help="print a JSON document")
    parser.add_argument("-l", "--local", action="store_true", help="no effect: only local keys are used anyway")
    parser.add_argument("-a", "--all", action="store_true", help="no effect: all objects are verified anyway")
    add_selectors(parser, "verify")
    parser.add_argument("files", type=Path, metavar="SIF", nargs="+", help="the files to verify, one after the other")
    parser.epilog = (
        "Without --key, it trusts the keys that 'sifmake key list' shows: yours, imported ones and Apptainer's.\n\n"
        "exit status: 0 verified, 10 not signed, 11 altered or invalid signature,\n"
        "  12 signer not trusted, 13 key expired or revoked, 1 not a SIF file;\n"
        "  for several files, the worst of theirs; from the worst: 11, 13, 12, 10, 1\n\n"
        + examples("sifmake verify IMAGE.sif", "sifmake verify --key theirs.pem IMAGE.sif")
    )


def run(args: argparse.Namespace) -> int:
    """Verify the files; returns the exit status, for several files the worst one."""
    if len(args.files) == 1:
        status, document = _one(args, args.files[0])
        if args.json:
            print_json(document)
        return status
    found = [_one_of_several(args, path) for path in args.files]
    if args.json:
        print_json([{"File": str(path), **document} for path, (_, document) in zip(args.files, found, strict=True)])
    return max((status for status, _ in found), key=_WORST.index)


def _one_of_several(args: argparse.Namespace, path: Path) -> tuple[int, dict[str, Any]]:
    """Verify one of several files; if it cannot be read, the others are still verified."""
    if not args.json:
        print_lines([f"{path}:"])
    try:
        return _one(args, path, several=True)
    except (SifError, OSError) as error:
        _complain(describe_os_error(error) if isinstance(error, OSError) else str(error))
        return SifError.exit_code, _broken(error)


def _one(args: argparse.Namespace, path: Path, *, several: bool = False) -> tuple[int, dict[str, Any]]:
    """Verify a file and print the result; return the exit status and the JSON document."""
    try:
        result, failure = _verified(args, path)
    except (SifError, OSError) as error:
        if args.json and not several:
            print_json(_broken(error))
        raise
    if not args.json:
        print_lines(_lines(result))
    if failure is None:
        _warn(result)
        if not args.quiet:
            _say(f"verified signature(s) from image '{path}'")
    else:
        _complain(str(failure))
    return result.exit_code, _document(result)


def _complain(message: str) -> None:
    from sifmake.cli.stand_in import error_prefix

    print_error(f"{error_prefix()}{message}")


def _broken(error: SifError | OSError) -> dict[str, Any]:
    """Return the JSON document for a file that cannot be read."""
    reason = error.what if isinstance(error, SifError) else error.strerror or str(error)
    members = {"Signatures": 0, "SignerKeys": None, "Verdict": "error", "ExitCode": SifError.exit_code}
    return {**members, "Reasons": [reason], "Uncovered": []}


def _verified(args: argparse.Namespace, path: Path) -> tuple[Verification, NotVerifiedError | None]:
    """Return the result for a file, and the error if it does not verify."""
    try:
        found = verify(path, keys=args.key or (), deny=args.deny, group=args.group_id, object_id=args.sif_id)
    except NotVerifiedError as error:
        return error.verification, error
    return found, None


def _warn(result: Verification) -> None:
    """Print warnings about a verified file."""
    for line in (*oddities(result.uncovered), *result.cautions):
        _say(f"warning: {line}")
    for check in result.signatures:
        for signer in check.signers:
            if signer.verdict is not Verdict.VERIFIED:
                _say(f"warning: signature {check.id} was not checked in full: {signer.reason}")
    if any(signer.development for signer in result.signers):
        _say("warning: signed with a development key, which others do not trust")


def _lines(result: Verification) -> Iterator[str]:
    """Yield the lines that the peers print: signers, then the verified objects."""
    for check in result.signatures:
        for signer in check.signers:
            if signer.verdict is Verdict.VERIFIED:
                yield f"[LOCAL]   Signing entity: {signer.name or 'unknown'}"
                yield f"[LOCAL]   Fingerprint: {signer.fingerprint}"
    if result.objects:
        yield "Objects verified:"
        yield from list_lines(result.objects, position=False)
        yield "Bytes that no signature covers:"
        for what, count, first in _totals(result):
            yield f"{count:>10} from {first:<10} {what}"


def _totals(result: Verification) -> list[tuple[str, int, int]]:
    """Return the uncovered bytes by kind: what they are, how many, and the offset of the first."""
    found: dict[str, tuple[int, int]] = {}
    for span in result.uncovered:
        what = _OBJECT_NUMBER.sub("descriptors of signed objects: numbers, offsets and modification times", span.what)
        count, first = found.get(what, (0, span.start))
        found[what] = (count + span.end - span.start, first)
    return [(what, count, first) for what, (count, first) in found.items()]


def _document(result: Verification) -> dict[str, Any]:
    """Return the JSON document: the peers' members, then ours.

    The two members of the peers are as they print them, with one exception: for raw keys they say that the name is
    unknown and that no key was checked, even if the signature is valid; here the key is named, because it was checked.
    """
    looked = _looked_at(result)
    keys = [{"Signer": entry} for check in looked for entry in _signer_entries(check, result.types)]
    warnings = {"Warnings": list(result.cautions)} if result.cautions else {}
    return {
        "Signatures": len(looked),
        "SignerKeys": keys or None,
        "Verdict": result.verdict.name.lower(),
        "ExitCode": result.exit_code,
        "Reasons": list(result.reasons),
        "Uncovered": [
            {"Start": span.start, "End": span.end, "What": span.what, "Odd": span.odd} for span in result.uncovered
        ],
        **warnings,
    }


def _looked_at(result: Verification) -> list[SignatureCheck]:
    """Return the signatures that the peers check: by group, up to the first that fails or a group that has none."""
    end = min(result.unsigned, default=math.inf)
    checks = [check for check in result.signatures if check.kind != "legacy" and check.group < end]
    checks.sort(key=lambda check: (check.group, check.id))
    good = list(takewhile(lambda check: check.verdict is Verdict.VERIFIED, checks))
    return checks[: len(good) + 1]


def _signer_entries(check: SignatureCheck, types: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """Yield one entry for each object that the signature of a trusted signer covers."""
    signer = next((signer for signer in check.signers if signer.verdict is Verdict.VERIFIED), None)
    if signer is None:
        return
    fingerprint = signer.fingerprint if check.kind == "dsse" else signer.fingerprint.lower()
    for number, whole in check.walk:
        yield {
            "Partition": types[number],
            "Name": signer.name or "unknown",
            "Fingerprint": fingerprint,
            "KeyLocal": True,
            "KeyCheck": True,
            "DataCheck": whole,
        }


def _say(message: str) -> None:
    """Print a line to standard error."""
    print_error(f"sifmake: {message}")
