"""``sifmake shim``: programs named ``apptainer`` and ``singularity`` for machines that have neither."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from sifmake.cli.subcommands import examples
from sifmake.errors import SifmakeError

if TYPE_CHECKING:
    import argparse

_NAMES = ("apptainer", "singularity")
_PROGRAM = """#!/bin/sh
# Written by sifmake shim: runs sifmake under the name of {name}.
exec {python} -P -c 'from sifmake.cli.stand_in import main; raise SystemExit(main("{name}"))' "$@"
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.description = (
        "Write programs named apptainer and singularity that run sifmake, for Snakemake, Nextflow, nf-core and cwltool "
        "on machines that have neither of the two. Put the folder on PATH."
    )
    parser.epilog = examples('sifmake shim ~/shim && export PATH="$HOME/shim:$PATH"')
    parser.add_argument("-F", "--force", action="store_true", help="replace programs that sifmake did not write")
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder for them; made if it is missing")


def run(args: argparse.Namespace) -> int:
    """Write the programs; returns the exit status.

    Raises:
        SifmakeError: Another program has one of the names.
    """
    from sifmake.cli.console import Console
    from sifmake.files import atomic_write, make_folders
    from sifmake.runtime.peers import is_ourselves

    paths = [args.folder / name for name in _NAMES]
    for path in paths:
        if (path.exists() or path.is_symlink()) and not args.force and not is_ourselves(str(path)):
            raise SifmakeError(
                "is there already and is not sifmake", where=str(path), hint="name another folder, or give --force"
            )
    make_folders(args.folder)
    console = Console(quiet=args.quiet)
    for path in paths:
        with atomic_write(path, 0o777) as file:
            file.write(_PROGRAM.format(name=path.name, python=quote(sys.executable)).encode())
        console.info(f"{path}: sifmake under this name")
    return 0
