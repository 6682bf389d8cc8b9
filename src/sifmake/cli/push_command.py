"""``sifmake push``: upload a SIF file to a registry, as ``apptainer push`` does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.usage = "sifmake push [options] SIF oras://REGISTRY/NAME[:TAG]"
    parser.add_argument("sif", metavar="SIF", type=Path, help="the file to upload")
    parser.add_argument("uri", metavar="URI", help="destination: oras://REGISTRY/NAME[:TAG]")
    parser.add_argument("--no-https", action="store_true", help="use plain HTTP for the registry")
    parser.add_argument("--authfile", type=Path, metavar="FILE", help="registry credentials in Docker's format")
    parser.add_argument(
        "--no-recipe", action="store_true", help="do not store what lets later pulls fetch only what changed"
    )


def run(args: argparse.Namespace) -> int:
    """Upload the file and print its reference by digest."""
    from sifmake.api.images import push
    from sifmake.cli.console import Console

    console = Console(quiet=args.quiet)
    try:
        pushed = push(
            args.sif,
            args.uri,
            plain_http=args.no_https,
            auth_file=args.authfile,
            recipe=not args.no_recipe,
            progress=console,
        )
    finally:
        console.close()
    console.info(f"pushed {pushed.reference}")
    return 0
