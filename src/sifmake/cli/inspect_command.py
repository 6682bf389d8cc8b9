"""``sifmake inspect``: show a SIF file's labels, scripts and definition, in the format of ``apptainer inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.cli.subcommands import examples
from sifmake.printing import print_text

if TYPE_CHECKING:
    import argparse

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
    parser.epilog = examples("sifmake inspect IMAGE.sif", "sifmake inspect --runscript IMAGE.sif")
    parser.add_argument("--all", action="store_true", help="show everything, as JSON")
    parser.add_argument("file", type=Path, metavar="SIF", help="the file")


def run(args: argparse.Namespace) -> int:
    """Print what was chosen; returns the exit status."""
    from sifmake.rootfs.inspection import ATTRIBUTES
    from sifmake.rootfs.report import as_json, as_text

    app = "" if args.all else args.app
    wanted = set(ATTRIBUTES) if args.all else set(args.chosen or ["labels"])
    chosen = chosen_attributes(args.file, wanted, app)
    print_text(as_json(chosen) if args.all or args.json else as_text(chosen, app, list_apps="apps" in wanted))
    return 0


def chosen_attributes(path: Path, wanted: set[str], app: str) -> dict[str, Any]:
    """Return the wanted attributes of a SIF file, or of one of its apps.

    Raises:
        SifError: They cannot be read.
    """
    from sifmake.api.images import inspect
    from sifmake.errors import SifmakeError
    from sifmake.rootfs.report import choose_attributes

    found = inspect(path, only=("deffile",) if wanted == {"deffile"} and not app else ())
    try:
        return choose_attributes(found.attributes, wanted, app)
    except SifmakeError as error:
        raise error.within(str(path)) from None
