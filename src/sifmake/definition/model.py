"""The content of a definition file, as values."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.definition.blanks import before_comment, words_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def as_bytes(text: str) -> bytes:
    """Return a text of a definition as its bytes in the file."""
    return text.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Lines:
    """Maps the lines of a text to line numbers in the file, because substitution and joined sections move them.

    Attributes:
        runs: (index of a line in the text, number of its line in the file); the lines up to the next pair follow it.
    """

    runs: tuple[tuple[int, int], ...] = ((0, 1),)

    def of(self, index: int) -> int:
        """Return the line number in the file (from 1) of a line of the text (from 0)."""
        start, number = self.runs[max(0, bisect_right(self.runs, (index, 1 << 62)) - 1)]
        return number + index - start

    def part(self, start: int, count: int, at: int) -> tuple[tuple[int, int], ...]:
        """Return the runs for lines from ``start`` on, which become the lines from ``at`` on of another text."""
        inner = [(index, number) for index, number in self.runs if start < index < start + count]
        return tuple((index - start + at, number) for index, number in [(start, self.of(start)), *inner])


@dataclass(frozen=True)
class Section:
    """One section; sections with the same name are joined.

    Attributes:
        name: In lower case, without ``%``.
        text: Its lines, each with a newline; bytes that are not UTF-8 are lone surrogates (``surrogateescape``).
        arguments: The text after the name, unchanged; the last one if sections are joined.
        line: Number of the line with its (first) name.
        lines: Line numbers of ``text``.
    """

    name: str
    text: str
    arguments: str = ""
    line: int = 0
    lines: Lines = field(default=Lines(), repr=False)

    @property
    def words(self) -> list[str]:
        """The arguments' words before a comment."""
        return words_of(before_comment(self.arguments))


@dataclass(frozen=True)
class Base:
    """The base of a stage.

    Attributes:
        agent: ``docker``, ``docker-daemon``, ``docker-archive``, ``oci``, ``oci-archive``, ``localimage``, ``oras``,
            ``http``, ``https`` or ``scratch``.
        reference: What the agent gets: ``alpine:3.20``, a path, ``HOST/PATH``; empty for ``scratch``.
        fingerprints: Keys that all must have signed the base, if it is a SIF file.
        line: Line number of the reference, or of the agent if there is no reference.
    """

    agent: str
    reference: str
    fingerprints: tuple[str, ...] = ()
    line: int = 0

    @property
    def uri(self) -> str:
        """The base as an argument of ``sifmake pull``; a path for ``localimage``; empty for ``scratch``."""
        if self.agent in {"localimage", "scratch"}:
            return self.reference
        slashes = "//" if self.agent in {"docker", "oras", "http", "https"} else ""
        return f"{self.agent}:{slashes}{self.reference}"


@dataclass(frozen=True, slots=True)
class CopyLine:
    """One line of ``%files``.

    Attributes:
        source: A pattern.
        destination: A path in the image; empty for the source's own path.
        line: Number in the file.
        ignored: A third word, which has no effect.
    """

    source: str
    destination: str
    line: int
    ignored: str = ""


@dataclass(frozen=True)
class Files:
    """All ``%files`` sections of a stage that copy from one place.

    Attributes:
        stage: Name of the stage to copy from; empty for the host.
        copies: In the order of the file.
        line: Number of the line with the (first) section's name.
    """

    stage: str
    copies: tuple[CopyLine, ...]
    line: int


class _Sectioned:
    """Something with sections."""

    sections: Mapping[str, Section]

    def text(self, name: str) -> str:
        """Return the text of a section; empty if there is none."""
        section = self.sections.get(name)
        return section.text if section else ""


@dataclass(frozen=True)
class App(_Sectioned):
    """All sections of one SCIF app (https://sci-f.github.io).

    Attributes:
        name: Name of the app.
        sections: By name: ``appinstall``, ``appfiles``, ``appenv``, ``applabels``, ``apphelp``, ``apprun``,
            ``appstart``, ``apptest``.
    """

    name: str
    sections: Mapping[str, Section]


@dataclass(frozen=True)
class BuildStage(_Sectioned):
    """A header and its sections.

    Attributes:
        name: Value of ``Stage:``; may be empty.
        base: What it is built on.
        header: All keys, in lower case, and their values.
        sections: By name: ``pre``, ``setup``, ``post``, ``test``, ``environment``, ``runscript``, ``startscript``,
            ``labels``, ``help``, ``arguments``. Empty sections are left out.
        files: ``%files``, in the order in which they are copied: from stages first, from the host last.
        apps: In the order in which the file first names them.
        line: Number of its first line.
    """

    name: str
    base: Base
    header: Mapping[str, str]
    sections: Mapping[str, Section]
    files: tuple[Files, ...]
    apps: tuple[App, ...]
    line: int


@dataclass(frozen=True)
class Definition:
    """A parsed definition file, with its variables replaced.

    Attributes:
        source: Name of the file for messages.
        stages: At least one; the last one becomes the image.
        text: The text recorded in the image: all stages after substitution.
        warnings: One line each.
        unused: Names of build arguments that no ``{{ }}`` uses.
    """

    source: str
    stages: tuple[BuildStage, ...]
    text: bytes = field(repr=False)
    warnings: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def last(self) -> BuildStage:
        """The stage that becomes the image."""
        return self.stages[-1]
