"""``sifmake sif``: show the parts of a SIF file without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.api.inspection import digest, open_sif
from sifmake.cli.subcommands import add_action, examples
from sifmake.printing import print_data, print_error, print_lines
from sifmake.sif.listing import header_lines, info_lines, list_lines

if TYPE_CHECKING:
    import argparse

    from sifmake.sif import Sif

_MOST_WARNINGS = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands list, header, info, dump and digest."""
    parser.epilog = examples(
        "sifmake sif list IMAGE.sif",
        "sifmake sif dump 4 IMAGE.sif > root.squashfs      # 4 where list shows the type FS",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(actions, "list", "list the objects of a SIF file")
    header = add_action(actions, "header", "show the global header of a SIF file")
    info = add_action(actions, "info", "show the descriptor of one object")
    dump = add_action(actions, "dump", "write the data of one object to standard output")
    for action in (info, dump):
        action.add_argument("id", type=int, metavar="ID", help="number of the object, as shown by 'sif list'")
    more = (
        "The digest covers names, types, modes, owners, bytes and extended attributes of the files. It does not cover "
        "times, compression, labels, signatures, or when and from what the image was built."
    )
    contents = add_action(actions, "digest", "print one digest of the image's content", more)
    for action in (listing, header, info, dump, contents):
        action.add_argument("file", type=Path, metavar="SIF", help="the file")


def run(args: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit status."""
    if args.action == "digest":
        from sifmake.cli.console import Console

        print_lines([digest(args.file, progress=Console())])
        return 0
    with open_sif(args.file) as sif:
        if args.action == "dump":
            _dump(sif, args.id)
        elif args.action == "info":
            print_lines(info_lines(sif.get(args.id)))
        else:
            _show(sif, args.action)
    return 0


def _dump(sif: Sif, number: int) -> None:
    """Copy the data of an object to standard output."""
    print_data(sif.chunks(sif.get(number)))


def _show(sif: Sif, action: str) -> None:
    """Print header or list; defects that do not prevent reading go to standard error."""
    lines = list_lines(sif.objects) if action == "list" else header_lines(sif.header)
    print_lines(lines)
    found = sif.problems()
    more = [f"{len(found) - _MOST_WARNINGS} further problems"] if len(found) > _MOST_WARNINGS else []
    for problem in found[:_MOST_WARNINGS] + more:
        print_error(f"sifmake: warning: {sif.path}: {problem}")
