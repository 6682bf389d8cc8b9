"""All commands and options as data, read from the parsers: for completion, man pages and the reference.

Each command and option is defined once, in the parser of its command; everything that repeats it is generated from
this table.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sifmake.cli.main import COMMANDS, build_parser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.cli.subcommands import Actions


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        words: Its spellings, short ones first, for example ``("-F", "--force")``.
        value: Placeholder for its value; empty for a flag.
        help: One clause.
        choices: The values that it accepts; empty if it accepts any.
        group: Title of the group under which the help lists it.
    """

    words: tuple[str, ...]
    value: str
    help: str
    choices: tuple[str, ...]
    group: str


@dataclass(frozen=True)
class Argument:
    """One positional argument of a command.

    Attributes:
        name: Its placeholder.
        help: One clause.
    """

    name: str
    help: str


@dataclass(frozen=True)
class Command:
    """A command, or a subcommand such as ``key import``.

    Attributes:
        name: The words after ``sifmake``.
        summary: What it does, one clause.
        usage: The usage line, without ``usage:``.
        description: One or more sentences.
        options: In the order in which the help lists them.
        arguments: Positional arguments.
        epilog: Text after the help: examples.
        subcommands: Its subcommands.
    """

    name: str
    summary: str
    usage: str
    description: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    epilog: str
    subcommands: tuple[Command, ...] = ()

    def walk(self) -> Iterator[Command]:
        """Yield this command and everything below it."""
        yield self
        for command in self.subcommands:
            yield from command.walk()


def read_commands() -> tuple[Command, ...]:
    """Return every command of ``sifmake``, in the order in which its help lists them."""
    return tuple(_read_command(name, text) for name, text in COMMANDS.items())


def read_global_options() -> tuple[Option, ...]:
    """Return the options that come before a command."""
    return tuple(_options(build_parser(None)))


def _read_command(name: str, summary: str) -> Command:
    parser = build_parser(name)
    (actions,) = _subparsers(parser)
    return _command(name, summary, actions.choices[name])


def _command(name: str, summary: str, parser: argparse.ArgumentParser) -> Command:
    below = tuple(
        _command(f"{name} {word}", _clause(actions, word), sub)
        for actions in _subparsers(parser)
        for word, sub in actions.choices.items()
    )
    return Command(
        name=name,
        summary=summary,
        usage=parser.usage or " ".join(["sifmake", name, "[options]", *_usage_words(parser)]),
        description=parser.description or "",
        options=tuple(_options(parser)),
        arguments=tuple(_arguments(parser)),
        epilog=parser.epilog or "",
        subcommands=below,
    )


def _inside(parser: object, name: str) -> Any:
    """Return a private attribute of argparse, because argparse has no public way to list a parser's actions."""
    return vars(parser)[name]


def _subparsers(parser: argparse.ArgumentParser) -> list[Actions]:
    return [action for action in _inside(parser, "_actions") if isinstance(action.choices, dict)]


def _clause(actions: Actions, word: str) -> str:
    return next(str(item.help or "") for item in _inside(actions, "_choices_actions") if item.dest == word)


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for group in _inside(parser, "_action_groups"):
        for action in _inside(group, "_group_actions"):
            if action.option_strings and action.help != argparse.SUPPRESS:
                words = tuple(sorted(action.option_strings, key=lambda word: word.startswith("--")))
                choices = tuple(str(choice) for choice in action.choices or ())
                yield Option(words, _placeholder(action, choices), _help(action), choices, str(group.title or ""))


def _positionals(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in _inside(parser, "_actions") if not action.option_strings)


def _name(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest


def _arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    for action in _positionals(parser):
        if not isinstance(action.choices, dict):
            yield Argument(_name(action), _help(action))


def _usage_words(parser: argparse.ArgumentParser) -> Iterator[str]:
    forms = {"?": "[{0}]", "*": "[{0} ...]", "+": "{0} [{0} ...]", argparse.PARSER: "{0} ..."}
    for action in _positionals(parser):
        yield forms.get(str(action.nargs), "{0}").format(_name(action))


def _placeholder(action: argparse.Action, choices: tuple[str, ...]) -> str:
    if action.nargs == 0:
        return ""
    if isinstance(action.metavar, str):
        return action.metavar
    return "|".join(choices) if choices else action.dest.upper()


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")
