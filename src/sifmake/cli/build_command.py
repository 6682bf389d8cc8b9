"""``sifmake build``: what ``apptainer build OUT URI`` does, which is a pull."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli import pull_command
from sifmake.cli.subcommands import examples
from sifmake.errors import UsageError

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pull``, and what ``build`` has besides."""
    pull_command.configure(parser)
    parser.usage = "sifmake build [options] OUT.sif URI"
    parser.epilog = examples("sifmake build alpine.sif docker://alpine:3.20")
    parser.add_argument("-s", "--sandbox", action="store_true", help="refused: SIF files only")
    parser.add_argument("-u", "--update", action="store_true", help="refused: a SIF file is made anew")
    parser.add_argument("-f", "--fakeroot", action="store_true", help="no effect: nothing here needs root")
    parser.add_argument("-T", "--notest", action="store_true", help="no effect: no test is run")
    parser.add_argument("--fix-perms", action="store_true", help="no effect: files get no other modes")


def run(args: argparse.Namespace) -> int:
    """Pull; returns the exit status.

    Raises:
        UsageError: A folder or a definition file is asked for.
    """
    if args.sandbox or args.update:
        raise UsageError("folders are not made, only SIF files", hint="leave out --sandbox and --update")
    if len(args.words) < 2:
        raise UsageError("the output file or the image is missing", hint="sifmake build OUT.sif URI")
    source = args.words[-1]
    if ":" not in source or Path(source).exists():
        raise UsageError(
            "a definition file, a folder or a SIF file is not built from, only images",
            where=source,
            hint="name an image such as docker://alpine:3.20, or build it with apptainer elsewhere",
        )
    return pull_command.run(args)
