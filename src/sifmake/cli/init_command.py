"""``sifmake init``: start a project in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.subcommands import examples
from sifmake.printing import print_text

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.description = (
        "Write sifmake.yaml, config/images.yaml, dodo.py, Snakefile, profiles/default and .gitignore into a folder. "
        "Existing files are kept. If the folder has a Snakefile, the files go into its subfolder containers."
    )
    parser.epilog = examples(
        "sifmake init                        # then list images in config/images.yaml",
        "sifmake lock && doit pull_image     # or: snakemake images",
    )
    parser.add_argument(
        "folder", metavar="DIR", nargs="?", type=Path, default=Path(), help="the folder (default: here)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the files and print the next steps."""
    from sifmake.api.project import start_project
    from sifmake.cli.console import Console

    console = Console(quiet=args.quiet)
    project = start_project(args.folder)
    for path in project.written:
        console.info(f"{path}: written")
    for path in project.kept:
        console.info(f"{path}: exists, left unchanged")
    console.info(
        f"next: list images in {project.root / 'config/images.yaml'}, then run `doit pull_image` or `snakemake images`"
    )
    if project.snippet:
        console.info("to use the images in this pipeline, add these lines to its Snakefile:")
        print_text(project.snippet)
    return 0
