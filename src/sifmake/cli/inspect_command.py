"""``sifmake inspect``: show a SIF file's labels, scripts and definition, in the format of ``apptainer inspect``."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from sifmake.cli.pull_words import add_access_words, is_plain_http
from sifmake.cli.subcommands import examples
from sifmake.printing import print_text

if TYPE_CHECKING:
    import argparse

_UNTOLD = {"apps": "the apps", "helpfile": "the help text"}
"""What stands only in files of the layers."""
_CHOICES = {
    "labels": ("-l", "the labels (default)"),
    "deffile": ("-d", "the definition file of the image"),
    "runscript": ("-r", "the runscript"),
    "startscript": ("-s", "the startscript"),
    "test": ("-t", "the test script"),
    "environment": ("-e", "the scripts that set the environment"),
    "helpfile": ("-H", "the help text of the runscript"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add Apptainer's options."""
    for name, (short, text) in _CHOICES.items():
        parser.add_argument(short, f"--{name}", action="append_const", dest="chosen", const=name, help=f"show {text}")
    parser.add_argument(
        "--list-apps", action="append_const", dest="chosen", const="apps", help="list the SCIF apps of the image"
    )
    parser.add_argument("--app", default="", metavar="NAME", help="show one SCIF app instead of the container")
    parser.add_argument("-j", "--json", action="store_true", help="print JSON instead of text")
    parser.epilog = examples(
        "sifmake inspect IMAGE.sif",
        "sifmake inspect --runscript IMAGE.sif",
        "sifmake inspect docker://alpine:3.20                   # no layer is fetched",
    )
    parser.add_argument("--all", action="store_true", help="show everything, as JSON")
    group = parser.add_argument_group("options for an image that is not pulled")
    group.add_argument("--arch", default="", metavar="ARCH", help="its architecture (default: this machine's)")
    add_access_words(group)
    parser.add_argument("file_or_uri", metavar="SIF|URI", help="the file, or an image that is not pulled")


def run(args: argparse.Namespace) -> int:
    """Print what was chosen; returns the exit status."""
    from sifmake.rootfs.inspection import ATTRIBUTES
    from sifmake.rootfs.report import as_json, as_text

    app = "" if args.all else args.app
    wanted = set(ATTRIBUTES) if args.all else set(args.chosen or ["labels"])
    uri = str(args.file_or_uri)
    chosen = _foretold(args, wanted, app) if _names_image(uri) else chosen_attributes(Path(uri), wanted, app)
    print_text(as_json(chosen) if args.all or args.json else as_text(chosen, app, list_apps="apps" in wanted))
    return 0


def _names_image(word: str) -> bool:
    """Tell whether a word names something to fetch, and not a file that is here."""
    from sifmake.errors import BadReferenceError
    from sifmake.files import exists_quietly
    from sifmake.reference import parse_uri
    from sifmake.reference.uri import FILE

    try:
        return not exists_quietly(Path(word)) and parse_uri(word).transport != FILE
    except BadReferenceError:
        return "://" in word


def _foretold(args: argparse.Namespace, wanted: set[str], app: str) -> dict[str, Any]:
    """Return the known attributes of an image before it is pulled, and report the unknown ones."""
    from sifmake.api.inspection import inspect_image
    from sifmake.cli.console import Console
    from sifmake.errors import SourceError
    from sifmake.rootfs.report import choose_attributes

    uri, pull = args.file_or_uri, f"sifmake pull {quote(args.file_or_uri)}"
    unknown = ["the app"] if app else [_UNTOLD[name] for name in sorted(wanted & _UNTOLD.keys())]
    if unknown and (app or wanted <= _UNTOLD.keys()):
        what = f"only the layers hold {' and '.join(unknown)}, and they are not fetched"
        raise SourceError(what, where=uri, hint=f"run `{pull}`, then inspect the file")
    console = Console(quiet=args.quiet)
    try:
        plain_http = args.no_https or is_plain_http(os.environ)
        found = inspect_image(uri, platform=args.arch, plain_http=plain_http, auth_file=args.authfile, progress=console)
        console.info(f"{uri}: shown from manifest and config; run `{pull}` to see what the layers add")
    finally:
        console.close()
    return choose_attributes(found.attributes, wanted)


def chosen_attributes(path: Path, wanted: set[str], app: str) -> dict[str, Any]:
    """Return the wanted attributes of a SIF file, or of one of its apps.

    Raises:
        SifError: They cannot be read.
    """
    from sifmake.api.inspection import inspect
    from sifmake.errors import SifmakeError
    from sifmake.rootfs.report import choose_attributes

    found = inspect(path, only=("deffile",) if wanted == {"deffile"} and not app else ())
    try:
        return choose_attributes(found.attributes, wanted, app)
    except SifmakeError as error:
        raise error.within(str(path)) from None
