"""``sifmake sign``: add a digital signature to a SIF file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.subcommands import examples
from sifmake.printing import print_error

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument(
        "--key",
        action="append",
        metavar="KEY",
        help="private key to sign with: a PEM or OpenPGP file, or the name of a key made by 'sifmake key newpair'; "
        "if given several times, the PEM keys make one signature that each of their public keys verifies",
    )
    who.add_argument("--gpg", metavar="FPR", help="sign through gpg, with its secret key that has this fingerprint")
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="file whose first line is the key's passphrase (default: SIFMAKE_PASSPHRASE, else ask)",
    )
    add_selectors(parser, "sign")
    parser.add_argument("file", type=Path, metavar="SIF", help="the file to sign; the signature is added to it")
    parser.epilog = examples(
        "sifmake sign --key mine IMAGE.sif          # after: sifmake key newpair mine",
        "sifmake sign --key key.pem IMAGE.sif",
        "sifmake sign --gpg FINGERPRINT IMAGE.sif",
    )


def add_selectors(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the options that choose a part of the file."""
    part = parser.add_mutually_exclusive_group()
    part.add_argument("-g", "--group-id", type=int, metavar="N", help=f"{verb} this object group only (default: all)")
    part.add_argument("-i", "--sif-id", type=int, metavar="N", help=f"{verb} this object only")


def run(args: argparse.Namespace) -> int:
    """Sign the file; returns the exit status."""
    from sifmake.api.signatures import sign
    from sifmake.cli.asking import terminal
    from sifmake.signing.passphrase import Passphrase

    passphrase = Passphrase(args.passphrase_file, ask=terminal())
    keys = args.key or [f"gpg:{args.gpg}"]
    info = sign(args.file, keys, passphrase=passphrase, group=args.group_id, object_id=args.sif_id)
    if info.earlier:
        _say("warning: the file was signed before; verifiers now need the keys of all its signatures")
    if not args.quiet:
        objects = ", ".join(str(number) for number in info.objects)
        _say(f"{args.file}: objects {objects} signed by {info.fingerprint}")
    return 0


def _say(message: str) -> None:
    """Print a line to standard error."""
    print_error(f"sifmake: {message}")
