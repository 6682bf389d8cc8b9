"""``sifmake seed``: put finished SIF files where Snakemake looks for ``container: "docker://..."`` images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.subcommands import add_root, examples

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="names in config/images.yaml (default: all)")
    parser.add_argument(
        "--snakemake-prefix",
        type=Path,
        metavar="DIR",
        help="the other workflow's --apptainer-prefix (default: APPTAINER_CACHEDIR, else .snakemake/singularity here)",
    )
    add_root(parser)
    parser.epilog = examples(
        "sifmake seed --root /srv/images              # run this in the folder of the other workflow",
        "sifmake seed --snakemake-prefix ~/other/.snakemake/singularity",
    )


def run(args: argparse.Namespace) -> int:
    """Place the images that are built and up to date."""
    from sifmake.api.project import seed
    from sifmake.cli.console import Console

    console = Console(quiet=args.quiet)
    prefix = args.snakemake_prefix or Path(os.environ.get("APPTAINER_CACHEDIR") or ".snakemake/singularity")
    seed(prefix, args.images, root=args.root, progress=console)
    return 0
