"""Subcommands of subcommands, as ``key import``: each says what it does and takes the options that all have."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from sifmake.errors import one_line
from sifmake.printing import print_output, write_note

if TYPE_CHECKING:
    import argparse

    Actions: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # it has no other name


def new_parser(**options: Any) -> argparse.ArgumentParser:
    """Return a parser whose complaints cannot steer the terminal: file names are among the words that it repeats."""
    from argparse import ArgumentParser

    class Parser(ArgumentParser):
        def error(self, message: str) -> NoReturn:
            super().error(one_line(message))

        def _print_message(self, message: str, file: Any = None) -> None:
            """Write help to standard output, the rest to standard error; argparse forgets errors."""
            if file is sys.stdout:
                print_output(message)
            else:
                write_note(sys.stderr, message)

    return Parser(**options)


def add_global_options(parser: argparse.ArgumentParser, *, default: object) -> None:
    """Add the options that may stand before and behind every subcommand."""
    parser.add_argument("-q", "--quiet", action="store_true", default=default, help="show warnings and errors only")
    parser.add_argument("--debug", action="store_true", default=default, help="show tracebacks")


def add_head_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of Apptainer that stand before a command, where they mean the same for all."""
    parser.add_argument("-d", dest="debug", action="store_true", help="the same as --debug")
    parser.add_argument("-s", "--silent", action="store_true", help="show errors only")
    parser.add_argument("-v", "--verbose", action="store_true", dest="verbose_head", help="no effect")
    parser.add_argument("--nocolor", action="store_true", help="no effect: nothing has colours")


def add_action(actions: Actions, name: str, text: str, more: str = "") -> argparse.ArgumentParser:
    """Add a subcommand of a subcommand.

    Args:
        actions: What ``add_subparsers`` returned.
        name: Its word.
        text: What it does, a clause for the list.
        more: Further sentences for its own help.
    """
    from argparse import SUPPRESS

    parser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}".rstrip())
    add_global_options(parser, default=SUPPRESS)
    return parser


def add_root(parser: argparse.ArgumentParser, what: str = "folder of the project") -> None:
    """Add the option that names a project."""
    parser.add_argument("--root", type=Path, default=Path(), metavar="DIR", help=f"{what} (default: here)")


def examples(*lines: str) -> str:
    """Return the end of a command's help: lines that can be typed."""
    return "\n  ".join(("examples:", *lines))
