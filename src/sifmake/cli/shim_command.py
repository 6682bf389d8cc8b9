"""``sifmake shim``: programs named ``apptainer`` and ``singularity`` for machines that have neither."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.subcommands import examples

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Write programs named apptainer and singularity that run sifmake, for Snakemake, Nextflow, nf-core and cwltool "
        "on machines that have neither. Put the folder on PATH."
    )
    parser.epilog = examples('sifmake shim ~/shim && export PATH="$HOME/shim:$PATH"')
    parser.add_argument("-F", "--force", action="store_true", help="replace programs that sifmake did not write")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder for the programs; created if it is missing")


def run(args: argparse.Namespace) -> int:
    """Write the programs; returns the exit status.

    Raises:
        SifmakeError: A program with one of the names exists and is not ours.
    """
    from sifmake.api.running import write_shims
    from sifmake.cli.console import Console

    console = Console(quiet=args.quiet)
    for path in write_shims(args.folder, force=args.force):
        console.info(f"{path}: written, runs sifmake")
    return 0
