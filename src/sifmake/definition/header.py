"""The header of a stage: ``Key: value`` lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.definition.blanks import before_comment, trimmed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sifmake.definition.model import Lines
    from sifmake.definition.problems import DefinitionPlace

_KEYS = frozenset(
    (
        "bootstrap", "from", "includecmd", "mirrorurl", "updateurl", "osversion", "include", "library", "registry",
        "namespace", "stage", "product", "user", "regcode", "productpgp", "registerurl", "modules", "fingerprints",
        "confurl", "setopt", "target", "frontend", "filename", "buildargs",
    )
)  # fmt: skip
"""Keys allowed in a header, besides ``otherurl1``, ``otherurl2``, ..."""

_OTHER_URL = re.compile(r"otherurl[0-9]+", re.ASCII)


@dataclass(frozen=True)
class StageHeader:
    """Keys and values of a stage.

    Attributes:
        values: Values by key, in lower case; the last value of a repeated key.
        lines: Line number of each key.
    """

    values: dict[str, str]
    lines: dict[str, int]


@dataclass(frozen=True)
class _Continued:
    """A value that continues on the next line."""

    key: str
    value: str
    line: int


def parse_header(lines: Sequence[str], numbers: Lines, place: DefinitionPlace) -> StageHeader:
    """Return the keys of a stage's first lines; ``#`` begins a comment wherever it is.

    Raises:
        DefinitionError: A line has no colon or an unknown key, or the line that continues a value is missing.
    """
    header = StageHeader({}, {})
    open_: _Continued | None = None
    for index, raw in enumerate(lines):
        line = trimmed(raw)
        if not line or line.startswith("#"):
            if open_ and any(map(trimmed, lines[index:])):
                raise _ends_early(open_, place)
            continue
        key, value, number = _key_and_value(trimmed(before_comment(line)), open_, numbers.of(index), place)
        open_ = None
        if value.endswith("\\"):
            open_ = _Continued(key, _without_mark(value), number)
            continue
        _check_key(key, number, place)
        header.values[key], header.lines[key] = value, number
    if open_:
        raise _ends_early(open_, place)
    return header


def _key_and_value(text: str, open_: _Continued | None, number: int, place: DefinitionPlace) -> tuple[str, str, int]:
    if open_:
        return open_.key, open_.value + text, open_.line
    key, colon, value = text.partition(":")
    if not colon:
        raise place.error(number, f"the header line {text[:60]!r} has no colon", "write KEY: VALUE")
    return trimmed(key).lower(), trimmed(value), number


def _without_mark(value: str) -> str:
    value = value[:-1]
    return value[:-2] + "\n" if value.endswith("\\n") else value


def _check_key(key: str, number: int, place: DefinitionPlace) -> None:
    if key in _KEYS or _OTHER_URL.fullmatch(key):
        return
    from difflib import get_close_matches

    near = get_close_matches(key[:40], sorted(_KEYS), 1)
    hint = f"write {near[0].capitalize()}:" if near else "begin a section with % to end the header"
    raise place.error(number, f"unknown header key {key[:40]!r}", hint)


def _ends_early(open_: _Continued, place: DefinitionPlace) -> Exception:
    what = f"the value of {open_.key.capitalize()}: ends with \\ and no line follows"
    return place.error(open_.line, what, "remove the \\, or write the rest on the next line")
