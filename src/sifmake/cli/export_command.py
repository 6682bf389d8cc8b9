"""``sifmake export``: write an image into an OCI layout, from the packs in the store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sifmake.cli.image_words import add_platform_words, platform_of
from sifmake.cli.pull_words import add_access_words, is_plain_http
from sifmake.cli.subcommands import add_allow_files, add_root, examples

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
    add_image_options(parser)


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that give images back."""
    add_platform_words(parser)
    add_access_words(parser)
    add_allow_files(parser)
    add_root(parser)


def image_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of the library for these options."""
    from sifmake.project.project import Modes

    return {
        "platform": platform_of(args),
        "plain_http": args.no_https or is_plain_http(os.environ),
        "auth_file": args.authfile,
        "allow_files": [*args.allow_files, *Modes.find().allow_files],
        "root": args.root,
    }


def run(args: argparse.Namespace) -> int:
    """Write the image and print its reference by digest."""
    from sifmake.api.exporting import export
    from sifmake.cli.console import Console

    console = Console(quiet=args.quiet)
    try:
        done = export(args.image, args.target, **image_options(args), progress=console)
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
