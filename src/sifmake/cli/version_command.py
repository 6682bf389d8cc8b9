"""``sifmake version``: the version and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.printing import print_lines

if TYPE_CHECKING:
    import argparse


def configure(_parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


def run(_args: argparse.Namespace) -> int:
    """Print it; returns the exit status."""
    from sifmake.cli.stand_in import version

    print_lines([version()])
    return 0
