"""The ``sifmake`` command: imports and runs the chosen subcommand, and prints an error as one line."""

from __future__ import annotations

import gc
import os
import sys

from sifmake.errors import NO_MEMORY, SifmakeError, describe_os_error, one_line
from sifmake.withheld import Withheld

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any, NoReturn

COMMANDS: dict[str, str] = {
    "pull": "build a SIF file from a container image",
    "build": "the same in the words of apptainer build",
    "lint": "find mistakes in definition files",
    "lock": "ask registries which digests tags point to, and write lock files",
    "stage": "run one stage of one configured image",
    "sign": "add a digital signature to a SIF file",
    "verify": "check the digital signatures of a SIF file",
    "inspect": "show labels, runscript, environment and more of a SIF file",
    "diff": "show what changed between two SIF files or lock files",
    "run": "run the runscript of a SIF file or image",
    "exec": "run a command in a SIF file or image",
    "shell": "run a shell in a SIF file or image",
    "test": "run the test script of a SIF file or image",
    "sif": "show the parts of a SIF file: list, header, info, dump, digest",
    "key": "make, list, import, export and remove keys",
    "registry": "log in to and out of registries",
    "cache": "list, verify, clean, export and import the store",
    "init": "start a project: configuration, dodo.py and Snakefile in a folder",
    "rebuild": "refresh locks, build, log digests and notify; for scheduled runs",
    "seed": "put SIF files where Snakemake looks for container images",
    "push": "upload a SIF file or an image to a registry",
    "export": "write an image into an OCI layout",
    "shim": "write programs named apptainer and singularity that run sifmake",
    "help": "show the help of a command",
    "version": "print the version",
    "completion": "print a script that completes commands in bash, zsh or fish",
}
"""Subcommands and their help; each has a module with ``configure(parser)`` and ``run(args)``: see :func:`_module`."""

_UNLISTED = {"run-help": "show the help text of a SIF file, as `inspect --helpfile` does"}
"""Apptainer's names for what another command does."""

_RUNNING = frozenset({"run", "exec", "shell", "test"})
"""Commands that start programs in images; they avoid argparse, which would take half of their time."""
_BUILDING = frozenset({"pull", "build"})
"""Commands that make one file and leave nothing to clean up."""
_THREADED = frozenset({"pull", "build", "stage"})
"""Commands that take much less memory without threads."""
OWN_FAILURE = 255
"""Exit status of these commands if sifmake itself fails, as with Apptainer; other numbers come from the program."""
_LEAST_TO_RUN, LEAST_TO_WORK = 8 << 20, 32 << 20
"""Bytes of addresses that commands which run programs, and all others, take in addition to the interpreter's."""
_LEAST_TO_TELL = 6 << 20
"""Bytes of addresses that it takes to find out and tell how many are missing."""
_UNREAD = 141
"""Exit status when the reader of standard output is gone, as a shell has it for SIGPIPE."""


def build_parser(chosen: str | None, *, alone: bool = False) -> argparse.ArgumentParser:
    """Return the parser, in which only the chosen subcommand knows its options.

    Args:
        chosen: The subcommand; None if there is none.
        alone: Whether to leave out the other subcommands, because no list of them will be shown.
    """
    import argparse

    from sifmake.cli.stand_in import version_line
    from sifmake.cli.subcommands import add_global_options, add_head_options, help_formatter, new_parser

    parser = new_parser(
        formatter_class=help_formatter(argparse.HelpFormatter),
        prog="sifmake",
        description="Build signed SIF files from container images, and rebuild only what changed.",
        epilog="'sifmake COMMAND --help' shows the options of a command. In a project (config/images.yaml), 'doit' and "
        "'snakemake' build all images.",
    )
    parser.add_argument("--version", action="version", version=version_line())
    add_global_options(parser, default=False)
    add_head_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    every = COMMANDS | _UNLISTED
    form = help_formatter(argparse.RawDescriptionHelpFormatter)  # examples keep their lines
    for name, text in every.items() if not alone or chosen is None else [(chosen, every[chosen])]:
        description = text[0].upper() + text[1:] + "."
        listed: dict[str, Any] = {"help": text} if name in COMMANDS else {}
        sub = commands.add_parser(name, description=description, formatter_class=form, **listed)
        if name == chosen:
            add_global_options(sub, default=argparse.SUPPRESS)
            _module(name).configure(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        is_running = _chosen_command(arguments) in _RUNNING
        demand_memory(_LEAST_TO_RUN if is_running else LEAST_TO_WORK, OWN_FAILURE if is_running else 1)
    if argv is None and arguments[:1] == ["stage"]:
        _leave(_run_single_stage(arguments))
    if argv is None and _chosen_command(arguments) in _BUILDING:
        gc.disable()  # see parse() for the reason
        _leave(run(arguments, own=True))
    return run(arguments, own=argv is None)


def demand_memory(size: int, status: int) -> None:
    """End with a line and a status if the limits of memory leave less than ``size`` bytes of addresses.

    If memory runs out while Python imports modules, Python 3.11 may loop for ever. So this imports nothing, and only
    asks the system for addresses, which it gives back.
    """
    if _has_addresses(size):
        return
    if _has_addresses(_LEAST_TO_TELL):
        from sifmake.memory import describe_shortage

        raise SystemExit(_complain(describe_shortage(size), status))
    os.write(2, f"sifmake: error: {NO_MEMORY}\n".encode())
    raise SystemExit(status)


def _has_addresses(size: int) -> bool:
    try:
        return len(bytes(size)) == size  # zeros, which take no memory until they are read
    except MemoryError:
        return False


def _chosen_command(arguments: list[str]) -> str | None:
    """Return the first word that is not an option: the name of the subcommand."""
    return next((word for word in arguments if not word.startswith("-")), None)


def _run_single_stage(arguments: list[str]) -> int:
    """Run a stage in the stage helper if there is one, else here; return the exit status."""
    from sifmake.drivers.stage_client import ask

    answer = ask(arguments)
    return run(arguments, own=True) if answer is None else answer


def run(arguments: list[str], *, own: bool = False) -> int:
    """Run one command and return the exit status.

    Args:
        arguments: The command line.
        own: Whether this process is there for this command alone, and may be replaced.
    """
    try:
        return _flushed(_run_parsed(_parse_or_leave(arguments), own=own))
    except BrokenPipeError as error:
        return _output_lost(error)
    except SystemExit as end:
        raise SystemExit(end.code or _flushed(0)) from None


def _run_parsed(args: argparse.Namespace, *, own: bool) -> int:
    """Run a command and return the exit status; errors become a line unless a traceback was asked for."""
    if args.command not in _RUNNING:  # these pass their open files on to the program
        _open_closed_files()
    try:
        with Withheld():
            return _run_until_signal(args)
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:  # a traceback helps only those who asked for it
        if own and args.command in _THREADED and _lacks_memory(error):
            _try_again()
        if args.debug:
            raise
        if isinstance(error, SifmakeError):
            error.at_root(str(getattr(args, "root", ".")))
        message, status = _in_words(error)
        if args.command in _RUNNING and not isinstance(error, KeyboardInterrupt):
            status = OWN_FAILURE
        return _complain(_with_lost_folder(message), status)


def _with_lost_folder(message: str) -> str:
    """Return a message; it also says if the current folder was removed, because then no relative path exists."""
    from pathlib import Path

    try:
        Path.cwd()
    except OSError:
        return f"{message.removesuffix('; check the path')}; the current folder was removed: change to another one"
    return message


def _lacks_memory(error: BaseException) -> bool:
    """Tell whether memory ran out; then it may be too short to load even the module that tells."""
    try:
        from sifmake.memory import is_out_of_memory
    except (MemoryError, ImportError):
        return True
    return is_out_of_memory(error)


def _try_again() -> None:
    """Try once more without threads, which take much memory; nothing of the first attempt is left."""
    from contextlib import suppress

    with suppress(OSError, MemoryError, ImportError):
        from sifmake.runtime.again import run_again_without_threads

        run_again_without_threads()


def _flushed(status: int) -> int:
    """Flush standard output; return the status, or another one if that fails."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        return _output_lost(error)
    return status


def _output_lost(error: OSError) -> int:
    """Report an error of standard output, unless its reader has gone; return the exit status."""
    from sifmake.printing import output_failed

    failure = output_failed(error)
    return _UNREAD if isinstance(failure, BrokenPipeError) else _complain(str(failure), 1)


def _parse_or_leave(arguments: list[str]) -> argparse.Namespace:
    """Return the options; on wrong usage of a command that runs programs, exit with its own status for failures."""
    try:
        return parse(arguments)
    except SifmakeError as error:  # an unknown command, or help that cannot be written
        raise SystemExit(_complain(str(error), error.exit_code)) from None
    except KeyboardInterrupt as error:
        raise SystemExit(_complain(*_in_words(error))) from None
    except SystemExit as end:
        if end.code and _chosen_command(arguments) in _RUNNING:
            raise SystemExit(OWN_FAILURE) from None
        raise


def _run_until_signal(args: argparse.Namespace) -> int:
    """Run a command so that SIGTERM and SIGHUP end it as an interrupt does; programs in images get these themselves."""
    if args.command in _RUNNING:
        return run_command(args)
    from sifmake.end_signals import interrupting

    with interrupting():
        return run_command(args)


def _open_closed_files() -> None:
    """Discard output to a closed standard output or error, for which Python has None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _in_words(error: BaseException) -> tuple[str, int]:
    """Return the message for an error that ends a command, and the exit status."""
    if isinstance(error, SifmakeError):
        return str(error), error.exit_code
    if _lacks_memory(error):
        return NO_MEMORY, 1
    if isinstance(error, OSError):
        return describe_os_error(error), 1
    if isinstance(error, KeyboardInterrupt):
        number = getattr(error, "number", 0)  # set on what end_signals raises
        return (str(error), 128 + number) if number else ("interrupted", 130)
    if isinstance(error, EOFError):
        return "no answer was entered", 1
    what = one_line(f"{type(error).__name__}: {error}")
    return f"{what}; this is a bug in sifmake: please report it with the output of --debug", 1


def run_command(args: argparse.Namespace) -> int:
    """Run the chosen command and return its exit status."""
    if args.command in _RUNNING:
        from sifmake.cli import running

        return running.run(args, args.command)
    return int(_module(args.command).run(args))


def _module(command: str) -> ModuleType:
    """Return the module of a command: ``sifmake.cli.NAME_command``, with ``_`` for ``-``."""
    from importlib import import_module

    return import_module(f"sifmake.cli.{command.replace('-', '_')}_command")


def _leave(status: int) -> NoReturn:
    """Exit without the interpreter's clean-up, which takes a tenth of a stage's time; engines start hundreds."""
    sys.stderr.flush()
    os._exit(status)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options of a command line; plain lines of the time-critical commands are parsed without argparse."""
    chosen = _chosen_command(arguments)
    if chosen in _RUNNING:
        gc.disable()  # nothing made before the program starts is in a reference cycle
        from sifmake.cli.running import parse_plain

        at = arguments.index(chosen)
        head, silent = _head_of(arguments[:at]) if at else ([], False)
        args = parse_plain([chosen, *head, *arguments[at + 1 :]])
        if args is not None:
            args.quiet = args.quiet + silent
            return args
    if arguments and arguments[0] == "stage":
        from sifmake.cli.stage_command import parse_plain as parse_stage

        gc.disable()  # nothing that a stage makes is in a reference cycle, and it ends soon
        stage = parse_stage(arguments[1:])
        if stage is not None:
            return stage
    if chosen is not None and chosen not in COMMANDS and chosen not in _UNLISTED:
        from sifmake.cli.unknown_command import unknown_command

        raise unknown_command(chosen, COMMANDS)
    first = bool(arguments) and arguments[0] in COMMANDS  # if not, an option such as --help comes first
    parser = build_parser(chosen, alone=first)
    args, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(args, "words") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.words += rest  # argparse does not accept positionals on both sides of options
    args.quiet = args.quiet + args.silent * 2
    return args


def _head_of(words: list[str]) -> tuple[list[str], bool]:
    """Return the words before a command in a form that may follow it, and whether the user wants no warnings."""
    from sifmake.cli.head_words import split_head

    return split_head(words)


def _complain(message: str, status: int) -> int:
    """Print an error line and return the status."""
    from sifmake.cli.stand_in import error_prefix
    from sifmake.printing import print_error

    print_error(f"{error_prefix()}{message}")
    return status
