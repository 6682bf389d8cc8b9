"""``sifmake push``: upload a SIF file to a registry, as ``apptainer push`` does, or an image with its layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.export_command import add_image_options, image_options, tell_exported
from sifmake.cli.pull_words import is_plain_http
from sifmake.cli.subcommands import examples

if TYPE_CHECKING:
    import argparse

    from sifmake.cli.console import Console


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.usage = (
        "sifmake push [options] SIF oras://REGISTRY/NAME[:TAG]\n       sifmake push [options] IMAGE docker://..."
    )
    parser.epilog = examples(
        "sifmake push alpine.sif oras://registry.example/me/alpine:3.20        # a SIF file",
        "sifmake push docker://alpine:3.20 docker://registry.example/alpine    # an image, from packs in the store",
        "sifmake push tool docker://registry.example/tool:1.0                  # tool: an image of the project",
    )
    parser.add_argument("sif", metavar="SIF|IMAGE", help="the file, or a URI or name of an image of the project")
    parser.add_argument("uri", metavar="URI", help="destination: oras:// for a file, docker:// for an image")
    add_image_options(parser)
    parser.add_argument(
        "--no-recipe", action="store_true", help="do not store what lets later pulls fetch only what changed"
    )


def run(args: argparse.Namespace) -> int:
    """Upload the file or image and print its reference by digest."""
    from sifmake.api.images import push
    from sifmake.cli.console import Console

    console = Console(quiet=args.quiet)
    if args.uri.lower().startswith("docker:") and not Path(args.sif).is_file():
        return _push_image(args, console)
    try:
        pushed = push(
            args.sif,
            args.uri,
            plain_http=args.no_https or is_plain_http(os.environ),
            auth_file=args.authfile,
            recipe=not args.no_recipe,
            root=args.root,
            progress=console,
        )
    finally:
        console.close()
    console.info(f"pushed {pushed.reference}")
    return 0


def _push_image(args: argparse.Namespace, console: Console) -> int:
    from sifmake.api.exporting import push_image

    try:
        done = push_image(args.sif, args.uri, **image_options(args), progress=console)
    finally:
        console.close()
    tell_exported(console, done, "pushed")
    return 0
