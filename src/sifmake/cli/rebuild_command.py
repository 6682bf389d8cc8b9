"""``sifmake rebuild``: refresh the locks, build, log digests and notify; for scheduled runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.cli.subcommands import add_grants, add_root, add_steps_options, examples

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.description = (
        "Refresh the locks of a project and build its images. Each published digest is appended to "
        "results/digests.jsonl; results/summary.json has the state of each image. If something changed or failed, the "
        "command that 'notify' names gets the summary on standard input. The development key is never used here."
    )
    parser.epilog = examples(
        "sifmake rebuild --root /srv/images            # every night, by cron or systemd",
        "sifmake rebuild --no-lock                     # build from the committed locks",
    )
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="images built at the same time (default: 2)")
    parser.add_argument("--no-lock", action="store_true", help="build from the committed locks; ask no registry")
    add_steps_options(parser)
    add_grants(parser)
    add_root(parser)


def run(args: argparse.Namespace) -> int:
    """Run one rebuild; return 1 if something failed, 75 if another rebuild is running."""
    from sifmake.api.project import rebuild
    from sifmake.cli.console import Console
    from sifmake.drivers.rebuild import FAILED
    from sifmake.project.project import Modes

    console = Console(quiet=args.quiet)
    found = Modes.find()
    try:
        result = rebuild(
            args.root,
            jobs=args.jobs,
            locked=args.no_lock,
            progress=console,
            allow_files=[*args.allow_files, *found.allow_files],
            allow_host_sections=args.allow_host_sections or found.allow_host_sections,
            update_steps=args.update_steps or found.update_steps,
            accept_steps=args.accept_steps or found.accept_steps,
        )
    finally:
        console.close()
    for image in result.images:
        place = f" at {image.stage}: {image.error}" if image.state == FAILED else ""
        console.info(f"{image.name}: {image.state}{place}")
    if result.notice:
        console.error(f"the notification failed: {result.notice}")
    return 1 if result.has_failed else 0
