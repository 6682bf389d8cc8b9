"""``sifmake exec``; see :mod:`sifmake.cli.running`."""

from __future__ import annotations

from sifmake.cli import running

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    running.configure(parser, "exec")


def run(args: argparse.Namespace) -> int:
    """Run the program in the image; returns its exit status."""
    return running.run(args, "exec")
