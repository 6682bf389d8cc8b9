"""``sifmake run-help``: show the help text that the author of a SIF file wrote for its runscript."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.printing import print_lines, print_text

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--app", default="", metavar="NAME", help="a SCIF app of the image")
    parser.add_argument("file", type=Path, metavar="SIF", help="the file")


def run(args: argparse.Namespace) -> int:
    """Print the text; returns the exit status."""
    from sifmake.cli.inspect_command import chosen_attributes
    from sifmake.rootfs.report import as_text

    text = as_text(chosen_attributes(args.file, {"helpfile"}, args.app), args.app)
    if text:
        print_text(text)
    else:
        print_lines(["No help sections have been defined for this container"])
    return 0
