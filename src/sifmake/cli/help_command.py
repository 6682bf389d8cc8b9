"""``sifmake help [COMMAND ...]``: the same as ``--help`` after the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the argument."""
    parser.add_argument("topic", metavar="COMMAND", nargs="*", help="a command and its subcommand (default: all)")


def run(args: argparse.Namespace) -> int:
    """Print the help of a command and exit."""
    from sifmake.cli.main import build_parser

    parser = build_parser(args.topic[0] if args.topic else None)
    parser.parse_args([*args.topic, "--help"])
    return 0
