"""``sifmake diff``: show what changed between two SIF files or two lock files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.subcommands import examples
from sifmake.printing import print_json, print_lines

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.add_argument("old", metavar="OLD", type=Path, help="SIF file, or lock file (.yaml, .steps.yaml)")
    parser.add_argument("new", metavar="NEW", type=Path, help="another file of the same kind")
    parser.epilog = examples("git show HEAD:config/locks/a.yaml > old.yaml; sifmake diff old.yaml config/locks/a.yaml")
    parser.add_argument("--json", action="store_true", help="print a JSON document")


def run(args: argparse.Namespace) -> int:
    """Print how the two differ."""
    from sifmake.api.inspection import diff
    from sifmake.compare.comparison import describe

    found = diff(args.old, args.new)
    if args.json:
        print_json(asdict(found))
        return 0
    print_lines(describe(found))
    if not found and not args.quiet:
        print_lines(["nothing changed"])
    return 0
