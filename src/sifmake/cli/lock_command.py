"""``sifmake lock``: ask registries which digests the tags point to, and write lock files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.cli.subcommands import add_grants, add_root, examples
from sifmake.printing import print_json

if TYPE_CHECKING:
    import argparse

_OUTDATED = 3
"""Exit status of ``--check`` if an image upstream is newer than its lock."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="names in config/images.yaml (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with status 3 if a lock is outdated")
    parser.add_argument("--offline", action="store_true", help="ask no registry; only write changed settings")
    parser.add_argument(
        "--trust-lock", action="store_true", help="accept a lock that the store can neither prove nor disprove"
    )
    add_grants(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON document on standard output")
    add_root(parser)
    parser.epilog = examples(
        "sifmake lock                    # one request for each unchanged image",
        "sifmake lock --check python     # is there something newer?",
    )


def run(args: argparse.Namespace) -> int:
    """Refresh locks; if one fails, the others are still refreshed."""
    from sifmake.api.project import lock
    from sifmake.cli.console import Console
    from sifmake.project.project import Modes
    from sifmake.stages.lock_refresh import CHANGED, FAILED, summarize

    console = Console(quiet=args.quiet or args.json)
    found = Modes.find(trust_lock="1" if args.trust_lock else None)
    outcomes = lock(
        args.images,
        root=args.root,
        check=args.check,
        offline=args.offline or found.offline,
        trust_lock=found.trust_lock,
        allow_files=[*args.allow_files, *found.allow_files],
        allow_host_sections=args.allow_host_sections or found.allow_host_sections,
        progress=console,
    )
    if args.json:
        print_json({"images": [outcome.document() for outcome in outcomes], "summary": summarize(outcomes)})
    states = {outcome.state for outcome in outcomes}
    if FAILED in states:
        return 1
    return _OUTDATED if args.check and CHANGED in states else 0
