"""``sifmake stage NAME IMAGE``: run one stage of one configured image, as Snakemake's rules do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sifmake.cli.subcommands import add_grants, add_root, add_steps_options
from sifmake.project.stage_table import STAGE_NAMES

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.add_argument("stage", choices=STAGE_NAMES, metavar="NAME", help=f"one of {', '.join(STAGE_NAMES)}")
    parser.add_argument("image", metavar="IMAGE", help="name in config/images.yaml")
    add_root(parser)
    parser.add_argument(
        "--trust-lock", action="store_true", help="accept a lock that the store can neither prove nor disprove"
    )
    add_steps_options(parser)
    add_grants(parser)
    parser.add_argument("--force", action="store_true", help="run it even if it is up to date")


class _PlainOptions:
    """Parsed options; has the attributes of argparse's Namespace."""

    def __init__(self, root: str, stage: str, image: str) -> None:
        self.__dict__.update(command="stage", quiet=False, debug=False, force=False, trust_lock=False)
        self.update_steps = self.accept_steps = False
        self.allow_files: list[str] = []
        self.allow_host_sections = False
        self.root = Path(root)
        self.stage = stage
        self.image = image


def parse_plain(words: list[str]) -> argparse.Namespace | None:
    """Return the options of a line as Snakemake's rules write it; None for a line that needs argparse."""
    match words:
        case ["--root", root, stage, image] if stage in STAGE_NAMES and not image.startswith("-"):
            return cast("argparse.Namespace", _PlainOptions(root, stage, image))
    return None


def run(args: argparse.Namespace) -> int:
    """Run the stage unless its record says that it is up to date."""
    from sifmake.cli.console import Console
    from sifmake.project.project import Modes, Project
    from sifmake.stages.runner import open_runner

    console = Console(quiet=args.quiet)
    given = {
        name: "1"
        for name in ("trust_lock", "update_steps", "accept_steps", "allow_host_sections")
        if getattr(args, name)
    }
    if args.allow_files:
        given["allow_files"] = os.pathsep.join(args.allow_files)
    modes = Modes.find(**given)
    project = Project(args.root, modes, console, thorough=False)
    with open_runner(project) as runner:
        if not runner.run(args.stage, args.image, force=args.force):
            console.info(f"{args.image}: {args.stage} is up to date")
    return 0
