"""``sifmake key``: make, list, import, export and remove keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.api.keys import Keyring
from sifmake.cli.asking import ask, terminal
from sifmake.cli.subcommands import add_action, examples
from sifmake.errors import KeyFileError
from sifmake.output_path import STANDARD_STREAM, open_output
from sifmake.printing import print_data, print_error, print_json, print_lines
from sifmake.signing.passphrase import Passphrase

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from sifmake.api.keys import KeyImport, PublicKeyFile

_STANDARD_INPUT = Path("/dev/stdin")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    parser.epilog = examples(
        "sifmake key newpair mine                   # then: sifmake sign --key mine IMAGE.sif",
        "sifmake key export mine mine.pem           # others run: sifmake key import mine.pem",
        "gpg --armor --export FINGERPRINT > theirs.asc; sifmake key import theirs.asc",
    )
    more = (
        "If no passphrase comes from the file, SIFMAKE_PASSPHRASE or the terminal, the private key is kept unencrypted."
    )
    pair = add_action(actions, "newpair", "make an Ed25519 key pair and trust its public half", more)
    pair.add_argument("name", metavar="NAME", nargs="?", default="default", help="its name (default: 'default')")
    pair.add_argument("--passphrase-file", type=Path, metavar="FILE", help="file that begins with the passphrase")
    listing = add_action(actions, "list", "list the trusted public keys", "They include Apptainer's keyring.")
    listing.add_argument("-s", "--secret", action="store_true", help="list private keys instead")
    listing.add_argument("-j", "--json", action="store_true", help="print a JSON document")
    what = "trust the public keys in a file, or keep a private PEM key"
    imported = add_action(actions, "import", what, "A private key is named after its file.")
    imported.add_argument("file", type=Path, metavar="FILE", help="PEM or OpenPGP keys; - is standard input")
    exported = add_action(actions, "export", "write a key to a file or standard output")
    exported.add_argument("-s", "--secret", action="store_true", help="export the private key with that name")
    exported.add_argument("-F", "--force", action="store_true", help="replace an existing file")
    exported.add_argument("key", metavar="KEY", help="name or fingerprint, as shown by 'key list'")
    exported.add_argument("output", type=Path, metavar="FILE", nargs="?", help="output file (default: standard output)")
    removed = add_action(actions, "remove", "stop trusting a public key, or delete a private key")
    removed.add_argument("-s", "--secret", action="store_true", help="delete the private key with that name")
    removed.add_argument("key", metavar="KEY", help="name or fingerprint, as shown by 'key list'")


def run(args: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit status."""
    actions = {
        "newpair": _new_pair,
        "list": _list_keys,
        "import": _import_keys,
        "export": _export_key,
        "remove": _remove_key,
    }
    actions[args.action](args)
    return 0


def _new_pair(args: argparse.Namespace) -> None:
    """Make a key pair."""
    passphrase = _new_passphrase(args.passphrase_file)
    pair = Keyring().new_pair(args.name, passphrase or "")
    if passphrase is None:
        _warn_unencrypted(args)
    _say(args, f"private key: {pair.private}")
    _say(args, f"public key, to give to others: {pair.public}")


def _warn_unencrypted(args: argparse.Namespace) -> None:
    from sifmake.cli.console import Console

    Console(quiet=args.quiet).warning(
        "the private key is not encrypted, because there is no terminal to ask for a passphrase (remove both keys and"
        " make them again with --passphrase-file FILE, or set SIFMAKE_PASSPHRASE)"
    )


def _new_passphrase(file: Path | None) -> str | None:
    """Return the passphrase for a new key: a given one or one that is typed twice; None if nobody can be asked."""
    known = Passphrase(file).known()
    if known is not None or terminal() is None:
        return known
    first = ask("New passphrase (empty for none): ")
    if first != ask("Again: "):
        raise KeyFileError("the two passphrases differ")
    return first


def _list_keys(args: argparse.Namespace) -> None:
    """Print the keys."""
    found = list(_secret_keys() if args.secret else _trusted_keys())
    if args.json:
        print_json(found)
        return
    print_lines("  ".join(str(value) for value in item.values() if value) for item in found)


def _secret_keys() -> Iterator[dict[str, Any]]:
    """Yield the user's private keys."""
    for key in Keyring().private_keys():
        passphrase = "with passphrase" if key.protected else "no passphrase"
        yield {"name": key.name, "passphrase": passphrase, "file": str(key.path)}


def _trusted_keys() -> Iterator[dict[str, Any]]:
    """Yield the trusted public keys, including Apptainer's keyring."""
    for key in Keyring().trusted_keys():
        own = {"fingerprint": key.fingerprint, "name": key.name, "kind": key.kind}
        yield {**own, "until": _end(key), "file": str(key.path)}


def _end(key: PublicKeyFile) -> str:
    if key.revoked:
        return "revoked"
    return f"until {key.expires:%Y-%m-%d}" if key.expires else ""


def _import_keys(args: argparse.Namespace) -> None:
    """Trust the keys in a file, or keep a private PEM key."""
    done = _import_from(args.file)
    if done.private is not None:
        _say(args, f"private key: {done.private}")
    for label in done.trusted:
        _say(args, f"now trusted: {label}")


def _import_from(file: Path) -> KeyImport:
    if str(file) != STANDARD_STREAM:
        return Keyring().import_file(file)
    try:
        return Keyring().import_file(_STANDARD_INPUT)
    except KeyFileError as error:
        error.where = "standard input"
        raise


def _export_key(args: argparse.Namespace) -> None:
    """Write a key to a file or standard output."""
    data = Keyring().export(args.key, private=args.secret)
    if args.output is None:
        print_data([data])
        return
    with open_output(args.output, replace=args.force, mode=0o600 if args.secret else 0o666) as file:
        file.write(data)


def _remove_key(args: argparse.Namespace) -> None:
    """Delete a key's file."""
    _say(args, f"removed {Keyring().remove(args.key, private=args.secret)}")


def _say(args: argparse.Namespace, message: str) -> None:
    """Print a line to standard error, except with ``--quiet``."""
    if not args.quiet:
        print_error(message)
