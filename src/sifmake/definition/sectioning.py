"""Cut a file into stages, and a stage into its header and sections.

A stage begins at each line that begins with ``bootstrap:``, a section at each line whose first word begins with ``%``,
wherever that line is, even inside a here-document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from sifmake.definition.blanks import BLANKS, trimmed
from sifmake.definition.model import Lines

if TYPE_CHECKING:
    from sifmake.definition.problems import DefinitionPlace
    from sifmake.limits import Limits

_STAGE = re.compile(r"^bootstrap:", re.IGNORECASE | re.MULTILINE | re.ASCII)

SECTIONS = frozenset(
    ("help", "setup", "files", "labels", "environment", "pre", "post", "runscript", "test", "startscript", "arguments")
)
"""Sections of a stage."""
APP_SECTIONS = frozenset(("appinstall", "applabels", "appfiles", "appenv", "apptest", "apphelp", "apprun", "appstart"))
"""Sections of an app; the app's name follows."""


@dataclass(frozen=True)
class Piece:
    """The text of one stage, or the text before the first one.

    Attributes:
        text: As it is in the file, carriage returns included.
        lines: Its line numbers.
    """

    text: str
    lines: Lines


@dataclass(frozen=True)
class TextBlock:
    """One section as written in the file.

    Attributes:
        name: In lower case; of an app's section as it is written.
        app: Name of the app; empty for a section of the stage.
        arguments: The text after the name and a space; None if there is no space.
        text: Its lines.
        at: Index of the line with its name; those of ``text`` follow.
    """

    name: str
    app: str
    arguments: str | None
    text: str
    at: int


def cut_stages(text: str) -> list[Piece]:
    """Return the pieces of a file; the first is the text before the first stage, often empty."""
    starts = [0, *(match.start() for match in _STAGE.finditer(text)), len(text)]
    pieces = []
    line = 1
    for start, end in pairwise(starts):
        piece = text[start:end]
        pieces.append(Piece(piece, Lines(((0, line),))))
        line += piece.count("\n")
    return pieces


def _lines_of(text: str) -> list[str]:
    """Return the lines of a text without their ends: a newline, with or without a carriage return."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def cut_sections(piece: Piece, place: DefinitionPlace, limits: Limits) -> tuple[list[str], list[TextBlock]]:
    """Return the lines of the header, and the sections.

    Raises:
        DefinitionError: A section is unknown or its line is invalid, or there are too many.
    """
    lines = _lines_of(piece.text)
    starts = [index for index, line in enumerate(lines) if line.lstrip(BLANKS).startswith("%")]
    if len(starts) > limits.definition_sections:
        what = f"a stage has more than {limits.definition_sections} sections (limit definition-sections)"
        raise place.error(piece.lines.of(starts[limits.definition_sections]), what)
    blocks = []
    for start, end in pairwise([*starts, len(lines)]):
        name, app, arguments = _named(lines[start], piece.lines.of(start), place)
        blocks.append(TextBlock(name, app, arguments, "".join(f"{line}\n" for line in lines[start + 1 : end]), start))
    return lines[: starts[0] if starts else len(lines)], blocks


def _named(line: str, number: int, place: DefinitionPlace) -> tuple[str, str, str | None]:
    """Return name, app and arguments of a section's first line."""
    if line[0] != "%":
        hint = "write it in the first column; no line of a script may begin with blanks and %"
        raise place.error(number, f"the section {trimmed(line)[:40]!r} is indented", hint)
    written, space, rest = line.lstrip("%").partition(" ")
    name = written.lower()
    if name in APP_SECTIONS:
        app, _, arguments = rest.partition(" ")
        _check_app(written, app, number, place)
        return name, app, arguments
    if name in SECTIONS:
        return name, "", rest if space else None
    raise place.error(number, f"unknown section %{written[:40]}", _advice(name))


def _check_app(written: str, app: str, number: int, place: DefinitionPlace) -> None:
    if written != written.lower():
        raise place.error(number, f"unknown section %{written}", f"write %{written.lower()} {app}")
    if not app:
        raise place.error(number, f"%{written} needs the name of an app", f"write %{written} NAME")
    if app in {".", ".."} or "/" in app or not app.isprintable():
        hint = "use letters, digits and -"
        raise place.error(
            number, f"the app's name {app[:40]!r} cannot be a folder in /scif/apps", hint, section=written
        )


def _advice(name: str) -> str:
    word = re.match(r"[a-z]*", name)
    if word and word[0] in SECTIONS | APP_SECTIONS:
        return f"write a space, and no other character, after %{word[0]}"
    from difflib import get_close_matches

    near = get_close_matches(name[:40], sorted(SECTIONS | APP_SECTIONS), 1)
    return f"write %{near[0]}" if near else "the sections are %" + ", %".join(sorted(SECTIONS))
