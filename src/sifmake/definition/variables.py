"""Replace ``{{ NAME }}`` by values.

The rules are Apptainer's: a place after ``#`` on its line is left alone (unless ``!`` follows the ``#``), and places
inside a value are replaced once, not recursively.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from sifmake.definition.blanks import trimmed
from sifmake.definition.model import Lines
from sifmake.definition.sectioning import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sifmake.definition.model import Section
    from sifmake.definition.problems import DefinitionPlace
    from sifmake.limits import Limits

OnMissing: TypeAlias = "Callable[[str, int, str], str]"

_PLACE = re.compile(r"\{\{[\t\n\f\r ]*+([0-9A-Za-z_]++)[\t\n\f\r ]*+\}\}")
_COMMENT = re.compile(r"#[^!]", re.DOTALL)


def pair_of(text: str) -> tuple[str, str] | None:
    """Return name and value of ``NAME=VALUE``, both trimmed; None if the text has another form."""
    name, equals, value = text.partition("=")
    name = trimmed(name)
    return (name, trimmed(value)) if equals and name else None


def parse_arguments(section: Section | None) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """Return the values of an ``%arguments`` section, and number and text of its invalid lines."""
    values: dict[str, str] = {}
    odd: list[tuple[int, str]] = []
    for index, line in enumerate(map(trimmed, section.text.split("\n") if section else ())):
        if not line or line.startswith("#"):
            continue
        pair = pair_of(line)
        if pair is None:
            odd.append((section.lines.of(index) if section else 0, line))
        else:
            values[pair[0]] = pair[1]
    return values, odd


@dataclass
class Substitution:
    """Replaces the places of one stage.

    Attributes:
        given: Values of the command line and of a file.
        defaults: Values of the stage's own ``%arguments``.
        section_at: Returns the name of the section that contains a line of the stage (from 0).
        place: For messages.
        limits: ``definition_bytes`` is used.
        on_missing: Returns a value for a variable without one, from its name, line and section; else an error.
        used: Names of the variables used so far.
    """

    given: Mapping[str, str]
    defaults: Mapping[str, str]
    section_at: Callable[[int], str]
    place: DefinitionPlace
    limits: Limits
    on_missing: OnMissing | None = None
    used: set[str] = field(default_factory=set)
    _known: dict[str, str] = field(default_factory=dict)

    def apply(self, piece: Piece) -> Piece:
        """Return the text with its places replaced, and the original line numbers.

        Raises:
            DefinitionError: A place has no value, or the text grows beyond the limit.
        """
        parts: list[str] = []
        runs = [(0, piece.lines.of(0))]
        size = done = line_in = line_out = 0
        for match in self._places(piece.text):
            kept = piece.text[done : match.start()]
            line_in, line_out = line_in + kept.count("\n"), line_out + kept.count("\n")
            value = self._value(match[1], piece.lines.of(line_in), self.section_at(line_in))
            line_in, line_out = line_in + match[0].count("\n"), line_out + value.count("\n")
            if value.count("\n") != match[0].count("\n"):
                runs.append((line_out, piece.lines.of(line_in)))
            parts += [kept, value]
            done = match.end()
            size += len(kept) + len(value)
            if size > self.limits.definition_bytes:
                raise self._too_large(piece.lines.of(line_in))
        parts.append(piece.text[done:])
        return Piece("".join(parts), Lines(tuple(runs)))

    def _places(self, text: str) -> Iterator[re.Match[str]]:
        """Yield the places that are not in a comment; a comment before an earlier place of the line does not count."""
        seen = comment = 0
        for match in _PLACE.finditer(text):
            newline = text.rfind("\n", seen, match.start())
            seen = match.start()
            comment = max(comment, newline + 1)
            found = _COMMENT.search(text, comment, match.start())
            comment = found.start() if found else match.end()
            if not found:
                yield match

    def _value(self, name: str, line: int, section: str) -> str:
        if name not in self._known:
            value = self._plain(name)
            if value is None:
                given = f"add --build-arg {name}=VALUE (in images.yaml: build-args)"
                hint = f"{given}, or a line {name}=VALUE below %arguments of this stage"
                if self.on_missing is None:
                    raise self.place.error(line, f"the variable {name[:60]} has no value", hint, section=section)
                value = self.on_missing(name, line, section)
            self._known[name] = self._once(value, line)
        self.used.add(name)
        return self._known[name]

    def _plain(self, name: str) -> str | None:
        return self.given.get(name, self.defaults.get(name))

    def _once(self, value: str, line: int) -> str:
        """Return a value with the places in it replaced by plain values."""
        parts: list[str] = []
        size = done = 0
        for match in _PLACE.finditer(value):
            inner = self._plain(match[1])
            if inner is None:
                continue
            self.used.add(match[1])
            parts += [value[done : match.start()], inner]
            done = match.end()
            size += len(parts[-1]) + len(parts[-2])
            if size > self.limits.definition_bytes:
                raise self._too_large(line)
        return "".join([*parts, value[done:]])

    def _too_large(self, line: int) -> Exception:
        most = self.limits.definition_bytes
        return self.place.error(
            line, f"with its variables replaced, the file has more than {most} bytes (limit definition-bytes)"
        )
