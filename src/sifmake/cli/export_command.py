"""``sifmake export``: write an image into an OCI layout, from the packs in the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.pull_words import add_access_words, is_plain_http
from sifmake.cli.subcommands import examples

if TYPE_CHECKING:
    import argparse

    from sifmake.api.exporting import ExportedImage
    from sifmake.cli.console import Console


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.usage = "sifmake export [options] IMAGE oci:DIR[:TAG]"
    parser.epilog = examples(
        "sifmake export docker://alpine:3.20 oci:layout:3.20   # then: skopeo copy oci:layout:3.20 ...",
        "sifmake export tool oci:layout                        # tool: an image of the project",
    )
    parser.add_argument("image", metavar="IMAGE", help="the image: a URI, or the name of an image of the project")
    parser.add_argument("target", metavar="oci:DIR[:TAG]", help="the layout; others of its images stay")
    parser.add_argument("--platform", default="", metavar="OS/ARCH[/VARIANT]", help="platform of the image")
    add_access_words(parser)
    parser.add_argument(
        "--root", type=Path, default=Path(), metavar="DIR", help="folder of the project (default: here)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the image and print its reference by digest."""
    from sifmake.api.exporting import export
    from sifmake.cli.console import Console

    console = Console(quiet=args.quiet)
    try:
        done = export(
            args.image,
            args.target,
            platform=args.platform,
            plain_http=args.no_https or is_plain_http(os.environ),
            auth_file=args.authfile,
            root=args.root,
            progress=console,
        )
    finally:
        console.close()
    tell_exported(console, done, "wrote")
    return 0


def tell_exported(console: Console, done: ExportedImage, verb: str) -> None:
    """Say where an image is, and whether its digests are those of upstream."""
    console.info(f"{verb} {done.reference}")
    if done.renewed:
        count = f"{done.renewed} of {done.layers} layer(s)"
        console.info(
            f"{count} compressed again: config and DiffIDs are the same, digests of blobs and manifest are new"
        )
