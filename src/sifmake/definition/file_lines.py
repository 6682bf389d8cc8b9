"""The lines of ``%files``: one or two words each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sifmake.definition.blanks import BLANKS, trimmed
from sifmake.definition.model import CopyLine, Files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sifmake.definition.model import Section
    from sifmake.definition.problems import DefinitionPlace

_WORD = re.compile(r'"(?P<quoted>[^"]*)"|(?P<plain>[^\t\n\f\r "]+)')


def parse_files(sections: Iterable[Section], place: DefinitionPlace) -> tuple[Files, ...]:
    """Return the copies, those from stages first, in the order in which the peers copy.

    Raises:
        DefinitionError: A section's arguments name no stage, or a line cannot be read with certainty.
    """
    copies: dict[str, list[CopyLine]] = {}
    lines: dict[str, int] = {}
    for section in sections:
        stage = _stage(section, place)
        lines.setdefault(stage, section.line)
        copies.setdefault(stage, []).extend(_copies(section, place))
    found = [Files(stage, tuple(items), lines[stage]) for stage, items in copies.items()]
    return tuple(sorted(found, key=lambda files: not files.stage))


def _stage(section: Section, place: DefinitionPlace) -> str:
    """Return the stage to copy from; empty for the host. Blanks or a comment after the name are ignored."""
    words = section.words
    if not words:
        return ""
    if len(words) != 2:
        hint = "write %files, or %files from STAGE"
        shown = " ".join(words)[:60]
        raise place.error(section.line, f"{shown!r} is not a valid argument of %files", hint, section="files")
    return words[1]


def _copies(section: Section, place: DefinitionPlace) -> Iterable[CopyLine]:
    for index, raw in enumerate(section.text.split("\n")):
        line = trimmed(raw)
        if line and not line.startswith("#"):
            number = section.lines.of(index)
            words = [*_words(line, number, place), "", "", ""]
            if not words[0]:
                raise place.error(number, "the source is empty", "write SOURCE [DESTINATION]", section="files")
            yield CopyLine(words[0], words[1], number, words[2])


def _words(line: str, number: int, place: DefinitionPlace) -> list[str]:
    """Return the first two words, and the rest. Only double quotes protect blanks."""
    words: list[str] = []
    end = -1
    for match in _WORD.finditer(line):
        if match.start() == end:
            what = "a character follows the closing quote: Apptainer reads two paths"
            raise place.error(number, what, "put double quotes around the whole path", section="files")
        plain = match["plain"]
        if plain and "'" in plain:
            what = "single quotes do not group words here"
            raise place.error(number, what, "put double quotes around the path", section="files")
        words.append(match["quoted"] if plain is None else plain)
        end = match.end()
        if len(words) == 2 and (end == len(line) or line[end] in BLANKS):
            return [*words, trimmed(line[end:])]
    return words
