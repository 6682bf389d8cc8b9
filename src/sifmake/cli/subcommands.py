"""Subcommands of subcommands, such as ``key import``: help text and the options that all commands share."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from sifmake.errors import one_line
from sifmake.printing import print_output, terminal_width, write_note

if TYPE_CHECKING:
    import argparse

    Actions: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # it has no other name


def new_parser(**options: Any) -> argparse.ArgumentParser:
    """Return a parser that escapes control characters in its errors, because they repeat file names."""
    from argparse import ArgumentParser

    class Parser(ArgumentParser):
        def error(self, message: str) -> NoReturn:
            from sifmake.cli.stand_in import error_prefix, stands_in

            if stands_in():  # what starts Apptainer looks for its prefix, on one line
                self.exit(2, f"{error_prefix()}{one_line(message)}\n")
            super().error(one_line(message))

        def _print_message(self, message: str, file: Any = None) -> None:
            """Write help to standard output, the rest to standard error; argparse forgets errors."""
            if file is sys.stdout:
                print_output(message)
            else:
                write_note(sys.stderr, message)

    return Parser(**options)


def help_formatter(kind: type[argparse.HelpFormatter]) -> partial[argparse.HelpFormatter]:
    """Return a maker of formatters that know how wide the terminal is.

    argparse makes one for each option that is added, and each would measure the terminal, with a heavy module.
    """
    return partial(kind, width=terminal_width() - 2)


def add_global_options(parser: argparse.ArgumentParser, *, default: object) -> None:
    """Add the options that may come before or after every subcommand."""
    parser.add_argument("-q", "--quiet", action="store_true", default=default, help="show warnings and errors only")
    parser.add_argument("--debug", action="store_true", default=default, help="show tracebacks")


def add_head_options(parser: argparse.ArgumentParser) -> None:
    """Add Apptainer's options that come before a command and mean the same for every command."""
    parser.add_argument("-d", dest="debug", action="store_true", help="the same as --debug")
    parser.add_argument("-s", "--silent", action="store_true", help="show errors only")
    parser.add_argument("-v", "--verbose", action="store_true", dest="verbose_head", help="no effect")
    parser.add_argument("--nocolor", action="store_true", help="no effect: the output has no colours")


def add_action(actions: Actions, name: str, text: str, more: str = "") -> argparse.ArgumentParser:
    """Add a subcommand of a subcommand.

    Args:
        actions: The result of ``add_subparsers``.
        name: Name of the subcommand.
        text: Clause for the list of subcommands.
        more: Further sentences for the subcommand's help.
    """
    from argparse import SUPPRESS

    parser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}".rstrip())
    add_global_options(parser, default=SUPPRESS)
    return parser


def add_steps_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that write the lock of what steps gave."""
    parser.add_argument(
        "--update-steps", action="store_true", help="write the lock of what the steps of a definition gave again"
    )
    parser.add_argument(
        "--accept-steps", action="store_true", help="the same in locked mode: accept what differs from that lock"
    )


def add_grants(parser: argparse.ArgumentParser) -> None:
    """Add what a user may allow the definitions of a project."""
    add_allow_files(parser)
    parser.add_argument(
        "--allow-host-sections", action="store_true", help="let %%pre and %%setup of definitions run on this machine"
    )


def add_allow_files(parser: argparse.ArgumentParser) -> None:
    """Add the option for folders that definitions of a project may read."""
    parser.add_argument(
        "--allow-files",
        action="append",
        default=[],
        metavar="DIR",
        help="folder outside the project that its definitions may read",
    )


def add_root(parser: argparse.ArgumentParser, what: str = "folder of the project") -> None:
    """Add the option that names a project."""
    parser.add_argument("--root", type=Path, default=Path(), metavar="DIR", help=f"{what} (default: here)")


def examples(*lines: str) -> str:
    """Return the examples at the end of a command's help."""
    return "\n  ".join(("examples:", *lines))
