"""``sifmake pull``: build a SIF file from a container image, with the options and defaults of ``apptainer pull``."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from sifmake.cli.image_words import add_image_words, check_output_word, platform_of, writing_image
from sifmake.cli.pull_words import add_words, credentials_of, folder_of, is_plain_http
from sifmake.cli.subcommands import examples
from sifmake.errors import BadReferenceError, OutputPathError, UsageError

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.usage = "sifmake pull [options] [OUT.sif] URI"
    parser.epilog = examples(
        "sifmake pull docker://alpine:3.20                      # alpine_3.20.sif",
        "sifmake pull --arch arm --arch-variant 6 pi.sif docker://alpine:3.20",
        "sifmake pull app.sif docker-archive:saved.tar:app:1.0",
        "docker save app:1.0 | sifmake pull app.sif docker-archive:/dev/stdin",
    )
    parser.add_argument("words", metavar="[OUT.sif] URI", nargs="+", help="output file and image")
    parser.add_argument("--name", default="", metavar="OUT.sif", help="the output file, given as an option")
    parser.add_argument("-F", "--force", action="store_true", help="replace an existing output file")
    parser.add_argument(
        "--dir", type=Path, default=None, metavar="DIR", help="folder of the output file (default: here)"
    )
    add_image_words(parser)
    parser.add_argument(
        "--reproducible", action="store_true", help="no effect: every SIF file is reproducible, to the byte"
    )
    parser.add_argument(
        "--disable-cache", action="store_true", help="no effect; set SIFMAKE_CACHE=DIR to use another store"
    )
    add_words(parser)


def run(args: argparse.Namespace) -> int:
    """Build the SIF file; an existing file is replaced only when the new one is complete."""
    from sifmake.api.images import pull

    output, uri = _words(args.words)
    if args.name and output:
        raise UsageError("--name and an output file are both given", hint="leave one of them out")
    with writing_image(args) as console:
        if args.disable_cache:
            from sifmake.cli.running_image import NO_CACHE

            console.warning(f"--disable-cache: {NO_CACHE}")
        sif = pull(
            uri,
            args.name or output or None,
            folder=folder_of(os.environ) if args.dir is None else args.dir,
            platform=platform_of(args),
            compression=args.compression,
            force=args.force,
            plain_http=args.no_https or is_plain_http(os.environ),
            auth_file=args.authfile,
            credentials=credentials_of(args),
            progress=console,
        )
        console.info(f"{sif.path}: {sif.size} bytes")
    return 0


def _words(words: list[str]) -> tuple[str, str]:
    if len(words) > 2:
        raise UsageError(f"too many arguments: {' '.join(words)}", hint="sifmake pull [OUT.sif] URI")
    if len(words) == 1:
        return "", words[0]
    output, uri = words
    check_output_word(output)
    if _is_uri(output) and ":" not in uri:
        raise UsageError(
            "the output file must come before the image", hint=f"sifmake pull {quote(uri)} {quote(output)}"
        )
    if _is_uri(output):
        raise UsageError("this is an image, not an output file", where=output, hint="sifmake pull OUT.sif URI")
    if output.endswith("/"):
        raise OutputPathError("the output file is a folder", where=output, hint="name a file in it, or use --dir")
    return output, uri


def _is_uri(word: str) -> bool:
    """Tell whether a word names an image, even one that cannot be fetched."""
    from sifmake.reference import parse_uri
    from sifmake.reference.uri import FILE

    try:
        return parse_uri(word).transport != FILE
    except BadReferenceError:
        return "://" in word
