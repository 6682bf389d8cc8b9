"""``sifmake rebuild``: refresh the locks, build, log digests, notify: what a schedule runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.cli.subcommands import add_root, examples
from sifmake.errors import BusyError

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.description = (
        "Refresh the locks of a project and build what they say. Each digest that is published is added to "
        "results/digests.jsonl; results/summary.json has the state of each image; the command that 'notify' names gets "
        "it on standard input if something changed or failed. The development key signs nothing here."
    )
    parser.epilog = examples(
        "sifmake rebuild --root /srv/images            # every night, by cron or systemd",
        "sifmake rebuild --no-lock                     # build what the committed locks say",
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="images built at the same time (default: 2)")
    parser.add_argument("--no-lock", action="store_true", help="build what the committed locks say; ask no registry")
    add_root(parser)


def run(args: argparse.Namespace) -> int:
    """Run one rebuild; returns 1 if something failed, 75 if another one is running."""
    from sifmake.api.project import rebuild
    from sifmake.cli.console import Console
    from sifmake.drivers.rebuild import FAILED

    console = Console(quiet=args.quiet)
    try:
        result = rebuild(args.root, jobs=args.jobs, locked=args.no_lock, progress=console)
    except BusyError as error:
        console.warning(error.what)
        return error.exit_code
    finally:
        console.close()
    for image in result.images:
        place = f" at {image.stage}: {image.error}" if image.state == FAILED else ""
        console.info(f"{image.name}: {image.state}{place}")
    if result.notice:
        console.warning(f"nobody was notified: {result.notice}")
    return 1 if result.has_failed else 0
