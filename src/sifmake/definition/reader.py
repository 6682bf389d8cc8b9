"""Read a definition file: ``read_definition`` for text, ``load_definition`` for a file."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.definition.agents import base_of
from sifmake.definition.file_lines import parse_files
from sifmake.definition.header import StageHeader, parse_header
from sifmake.definition.label_lines import parse_labels
from sifmake.definition.model import App, BuildStage, Definition, Lines, Section, as_bytes
from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.script_command import script_command
from sifmake.definition.sectioning import APP_SECTIONS, Piece, cut_sections, cut_stages
from sifmake.definition.variables import Substitution, parse_arguments
from sifmake.errors import describe_os_error
from sifmake.files import read_regular
from sifmake.limits import DEFAULT_LIMITS
from sifmake.not_sif import DOCKERFILE_HINT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sifmake.definition.sectioning import TextBlock
    from sifmake.definition.variables import OnMissing
    from sifmake.limits import Limits

_RUN = frozenset(("pre", "setup", "post"))


def load_definition(
    path: Path, arguments: Mapping[str, str] | None = None, limits: Limits = DEFAULT_LIMITS
) -> Definition:
    """Read and parse a definition file.

    Args:
        path: The file; a named pipe is read to its end.
        arguments: Values of ``--build-arg`` and its file; they take precedence over ``%arguments``.
        limits: The ``definition_`` ones are used.

    Raises:
        DefinitionError: It cannot be read, is not valid, or needs something unsupported; names line and section.
    """
    return read_definition(read_file(path, limits), str(path), arguments, limits)


def read_file(path: Path, limits: Limits) -> bytes:
    """Return the bytes of a definition file; if it is too large, only its beginning.

    Raises:
        DefinitionError: It cannot be read.
    """
    try:
        return read_regular(path, limits.definition_bytes + 1, pipes=True)
    except OSError as error:
        raise DefinitionPlace("").error(0, describe_os_error(error)) from None


def read_definition(
    data: bytes,
    source: str,
    arguments: Mapping[str, str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    *,
    on_missing: OnMissing | None = None,
) -> Definition:
    """Parse the bytes of a definition file.

    Args:
        data: The file.
        source: Its name, for messages.
        arguments: Values of ``--build-arg`` and its file; they take precedence over ``%arguments``.
        limits: The ``definition_`` ones are used.
        on_missing: Returns a value for a variable without one, from its name, line and section; else an error.

    Raises:
        DefinitionError: It is not valid, or needs something unsupported; names line and section.
    """
    place = DefinitionPlace(source)
    if len(data) > limits.definition_bytes:
        raise place.error(0, f"the file has more than {limits.definition_bytes} bytes (limit definition-bytes)")
    _check_kind(data, place)
    given = dict(arguments or {})
    reader = _Reader(place, limits, given, on_missing)
    stages = reader.stages(cut_stages(data.decode("utf-8", "surrogateescape")))
    unused = tuple(name for name in given if name not in reader.used)
    text = as_bytes("".join(reader.texts))
    return Definition(source, stages, text, tuple(reader.warnings), unused)


_DOCKERFILE = re.compile(rb"(?:\s|#[^\n]*\n)*(?:from|arg)[ \t]+[^\s:]", re.IGNORECASE)
"""The first instruction; after it, a header would have a colon."""


def _check_kind(data: bytes, place: DefinitionPlace) -> None:
    if b"\0" in data:
        raise place.error(0, "this is not a definition file: it has NUL bytes", "name a text file, or pull an image")
    if _DOCKERFILE.match(data):
        raise place.error(0, "this is a Dockerfile, not a definition file", DOCKERFILE_HINT)
    if data.startswith(b"\xef\xbb\xbf"):
        raise place.error(1, "the file begins with a byte order mark", "save it as UTF-8 without a byte order mark")


@dataclass
class _Reader:
    """Reads the stages of one file, one after the other."""

    place: DefinitionPlace
    limits: Limits
    given: Mapping[str, str]
    on_missing: OnMissing | None = None
    used: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def stages(self, pieces: list[Piece]) -> tuple[BuildStage, ...]:
        before, *rest = pieces
        self._check_before(before)
        if not rest:
            raise self.place.error(0, "the file has no stage", "start it with Bootstrap: AGENT")
        if len(rest) > self.limits.definition_stages:
            line = rest[self.limits.definition_stages].lines.of(0)
            most = self.limits.definition_stages
            raise self.place.error(line, f"the file has more than {most} stages (limit definition-stages)")
        # Like the peers, first read the unchanged file, so that an error in it is not blamed on a value.
        raw = [_Raw.of(piece, self.place, self.limits) for piece in rest]
        stages: list[BuildStage] = []
        size = 0
        for piece in raw:
            stage = self._stage(piece)
            size += len(self.texts[-1])
            if size > self.limits.definition_bytes:
                most = self.limits.definition_bytes
                what = f"with its variables replaced, the file has more than {most} bytes (limit definition-bytes)"
                raise self.place.error(stage.line, what)
            self._check_names(stage, stages, piece.header.lines.get("stage", stage.line))
            stages.append(stage)
        return tuple(stages)

    def _check_before(self, piece: Piece) -> None:
        """Refuse anything but comments and blank lines before the first ``Bootstrap:``."""
        raw = _Raw.of(piece, self.place, self.limits)
        hint = "start the header with Bootstrap: AGENT"
        if raw.header.lines:
            key, line = next(iter(raw.header.lines.items()))
            raise self.place.error(line, f"the first line of the header is {key.capitalize()}:, not Bootstrap:", hint)
        if raw.blocks:
            block = raw.blocks[0]
            number = piece.lines.of(block.at)
            raise self.place.error(number, "this section comes before the header", hint, section=block.name)

    def _stage(self, raw: _Raw) -> BuildStage:
        defaults, odd = parse_arguments(_joined(raw, raw.named("arguments")).get("arguments"))
        line = raw.piece.lines.of(0)
        self.warnings += [
            f"{self.place.source}:{number}: %arguments: {text[:60]!r} is ignored: it is not NAME=VALUE"
            for number, text in odd
        ]
        substitution = Substitution(self.given, defaults, raw.section_at, self.place, self.limits, self.on_missing)
        piece = substitution.apply(raw.piece)
        self.used |= substitution.used
        self.texts.append(piece.text)
        if piece.text != raw.piece.text:
            raw = _Raw.of(piece, self.place, self.limits)
        sections = _joined(raw, (block for block in raw.blocks if not block.app and block.name != "files"))
        self._check_labels(sections)
        for name in sections.keys() & _RUN:
            script_command(sections[name], "", self.place)
        files = parse_files((_section(block, raw.piece) for block in raw.named("files")), self.place)
        values = raw.header.values
        base = base_of(raw.header, self.place, line)
        return BuildStage(values.get("stage", ""), base, values, sections, files, _apps(raw), line)

    def _check_labels(self, sections: Mapping[str, Section]) -> None:
        labels = sections.get("labels")
        most = self.limits.definition_labels
        if labels and len(parse_labels(labels.text)) > most:
            what = f"there are more than {most} labels (limit definition-labels)"
            raise self.place.error(labels.line, what, section="labels")

    def _check_names(self, stage: BuildStage, earlier: list[BuildStage], line: int) -> None:
        """Refuse duplicate names of stages, and copies from stages that do not exist yet.

        Apptainer silently uses the first of two stages with the same name.
        """
        names = {other.name for other in earlier if other.name}
        if stage.name in names:
            what = f"two stages have the name {stage.name[:60]!r}"
            raise self.place.error(line, what, "give each stage a name of its own with Stage:")
        for files in stage.files:
            if files.stage and files.stage not in names:
                known = ", ".join(sorted(names)) or "none has a name"
                what = f"there is no stage {files.stage[:60]!r} above this one"
                raise self.place.error(files.line, what, f"the stages above are: {known}", section="files")


@dataclass(frozen=True)
class _Raw:
    """The text of a stage, cut into sections."""

    piece: Piece
    header: StageHeader
    blocks: list[TextBlock]

    @classmethod
    def of(cls, piece: Piece, place: DefinitionPlace, limits: Limits) -> _Raw:
        lines, blocks = cut_sections(piece, place, limits)
        return cls(piece, parse_header(lines, piece.lines, place), blocks)

    def named(self, name: str) -> list[TextBlock]:
        return [block for block in self.blocks if block.name == name]

    def section_at(self, index: int) -> str:
        """Return the name of the section that contains a line (from 0); empty for the header."""
        after = bisect_right(self.blocks, index, key=lambda block: block.at)
        return self.blocks[after - 1].name if after else ""


def _section(block: TextBlock, piece: Piece) -> Section:
    count = block.text.count("\n")
    lines = Lines(piece.lines.part(block.at + 1, count, 0))
    return Section(block.name, block.text, block.arguments or "", piece.lines.of(block.at), lines)


def _joined(raw: _Raw, blocks: Iterable[TextBlock]) -> dict[str, Section]:
    """Return sections by name, without empty ones; if a name is repeated, the last arguments are used."""
    together: dict[str, list[TextBlock]] = {}
    for block in blocks:
        together.setdefault(block.name, []).append(block)
    found = {name: _join(raw.piece, same) for name, same in together.items()}
    return {name: section for name, section in found.items() if section.text}


def _join(piece: Piece, blocks: list[TextBlock]) -> Section:
    runs: list[tuple[int, int]] = []
    at = 0
    for block in blocks:
        count = block.text.count("\n")
        if count:
            runs += piece.lines.part(block.at + 1, count, at)
        at += count
    arguments = next((block.arguments for block in reversed(blocks) if block.arguments is not None), "")
    first = blocks[0]
    lines = Lines(tuple(runs) or ((0, piece.lines.of(first.at)),))
    return Section(first.name, "".join(block.text for block in blocks), arguments, piece.lines.of(first.at), lines)


def _apps(raw: _Raw) -> tuple[App, ...]:
    together: dict[str, list[TextBlock]] = {}
    for block in raw.blocks:
        if block.name in APP_SECTIONS:
            together.setdefault(block.app, []).append(block)
    return tuple(App(name, _joined(raw, blocks)) for name, blocks in together.items())
