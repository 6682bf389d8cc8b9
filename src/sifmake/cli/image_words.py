"""The options of commands that write an image, and checks of the words that name it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sifmake.block_compression import COMPRESSIONS, DEFAULT_COMPRESSION, is_compression
from sifmake.errors import TargetExistsError, UsageError
from sifmake.output_path import STANDARD_STREAM

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from sifmake.cli.console import Console


class _Compressions(tuple[str, ...]):
    """The names of compressions, which may also be given with a level."""

    __slots__ = ()

    def __contains__(self, word: object) -> bool:
        """Tell whether a word names a compression."""
        return is_compression(str(word))


def add_image_words(parser: argparse.ArgumentParser) -> None:
    """Add the options for the platform and the compression of an image."""
    add_platform_words(parser)
    parser.add_argument(
        "--compression",
        choices=_Compressions(COMPRESSIONS),
        default=DEFAULT_COMPRESSION,
        help="compression of the squashfs blocks, also with a level as in gzip:9 (default: gzip)",
    )


def add_platform_words(parser: argparse.ArgumentParser) -> None:
    """Add the options for the platform of an image."""
    parser.add_argument(
        "--arch", metavar="ARCH", help="architecture of the image, for example arm64 (default: this machine's)"
    )
    parser.add_argument("--arch-variant", metavar="VARIANT", help="variant of the architecture, for example v7")
    parser.add_argument("--platform", metavar="OS/ARCH[/VARIANT]", help="platform of the image, instead of both")


def platform_of(args: argparse.Namespace) -> str:
    """Return the platform that the options name; empty for this machine's.

    Raises:
        UsageError: It is named twice.
    """
    from sifmake.oci.platform import host_platform

    if args.platform and (args.arch or args.arch_variant):
        raise UsageError("--arch and --platform are both given", hint="leave out --arch and --arch-variant")
    if args.arch_variant:
        return f"{args.arch or host_platform().architecture}/{args.arch_variant}"
    return args.platform or args.arch or ""


def check_output_word(word: str) -> None:
    """Raise UsageError for words that cannot be an output file: an empty one, and ``-`` for standard output."""
    if not word:
        raise UsageError(
            "the name of the output file is empty", hint="set the variable in your script that should name it"
        )
    if word == STANDARD_STREAM:
        raise UsageError("a SIF file cannot be written to standard output", hint="name a file (./- for one called -)")


@contextmanager
def writing_image(args: argparse.Namespace) -> Iterator[Console]:
    """Provide the console, and name the option that replaces an existing target."""
    from sifmake.cli.console import Console

    console = Console(quiet=args.quiet)
    try:
        yield console
    except TargetExistsError as error:
        error.hint = "use --force to replace it"
        raise
    finally:
        console.close()
