"""``sifmake lint``: errors in a definition file, and things that would surprise its author."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

from sifmake.definition.blanks import before_comment, trimmed, words_of
from sifmake.definition.lint_rules import check_stages, has_secret, is_secret
from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.reader import read_definition
from sifmake.definition.sectioning import APP_SECTIONS, SECTIONS
from sifmake.definition.steps import post_steps
from sifmake.errors import DefinitionError
from sifmake.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sifmake.limits import Limits

_MOST = 1000
"""Most findings of one kind; nobody reads more."""
_SECRET = ("secret-in-argument", "warning")
_LOOKS = "looks like a secret: its value is recorded in the image"
_ADVICE = "use --secret, which leaves nothing in the image"
_COMMENTED = re.compile(r"(?:from|registry|namespace)[ \t]*:(.*[^ \t]#.*)", re.IGNORECASE)
_AFTER_HASH = re.compile(r"^[ \t]*[^ \t#][^#]*(?<![ \t])#[^!#][^{]*(\{\{[ \t]*\w+[ \t]*\}\})")
_TAB = re.compile(r"%(\w+)\t")


@dataclass(frozen=True, order=True)
class LintFinding:
    """A problem in a definition file.

    Attributes:
        line: Number of its line; 0 for the whole file.
        section: Name of the section; empty for the header.
        rule: Short name of the rule.
        severity: ``error`` if the file cannot be built, else ``warning``.
        text: What is wrong, a clause.
        hint: What to write instead.
    """

    line: int
    section: str
    rule: str
    severity: str
    text: str
    hint: str


def lint_definition(
    data: bytes, source: str, arguments: Mapping[str, str] | None = None, limits: Limits = DEFAULT_LIMITS
) -> tuple[LintFinding, ...]:
    """Return the problems of a definition file, in the order of its lines.

    Args:
        data: The file.
        source: Its name, for messages.
        arguments: Values of ``--build-arg``.
        limits: The ``definition_`` ones are used.
    """
    text = data.decode("utf-8", "surrogateescape") if len(data) <= limits.definition_bytes else ""
    found = list(islice(_check_lines(text), _MOST))

    def on_missing(name: str, line: int, section: str) -> str:
        found.append(_without_value(name, line, section))
        return name.lower()  # as a part of From: it has to be one of a reference

    try:
        definition = read_definition(data, source, arguments, limits, on_missing=on_missing)
        for stage in definition.stages:
            post_steps(stage, DefinitionPlace(source))
    except DefinitionError as error:
        if not any(finding.severity == "error" for finding in found):
            found.append(LintFinding(error.line, error.section, "invalid", "error", error.what, error.hint))
    else:
        found += _check_given(arguments or {}, definition.unused, text)
        found += [
            LintFinding(note.line, note.section, note.rule, "warning", note.text, note.hint)
            for note in islice(check_stages(definition), _MOST)
        ]
    return tuple(sorted(set(found)))


def _check_given(arguments: Mapping[str, str], unused: Collection[str], text: str) -> Iterator[LintFinding]:
    """Yield what is wrong with values of the command line."""
    for name, value in arguments.items():
        if name in unused:
            what = f"no variable {name[:60]} is in the file, and the build stops"
            yield LintFinding(0, "", "unused-build-arg", "error", what, f"leave out --build-arg {name[:60]}")
        elif is_secret(name, value):
            place = re.search(rf"\{{\{{\s*{re.escape(name)}\s*\}}\}}", text)
            line = text.count("\n", 0, place.start()) + 1 if place else 0
            yield LintFinding(line, "", *_SECRET, f"the argument {name[:60]} {_LOOKS}", _ADVICE)


def _without_value(name: str, line: int, section: str) -> LintFinding:
    if is_secret(name):
        return LintFinding(line, section, *_SECRET, f"the argument {name[:60]} {_LOOKS}", _ADVICE)
    text = f"the argument {name[:60]} has no default"
    hint = f"add a line {name[:60]}=VALUE below %arguments, or build with --build-arg {name[:60]}=VALUE"
    return LintFinding(line, section, "argument-without-value", "warning", text, hint)


def _check_lines(text: str) -> Iterator[LintFinding]:
    """Yield problems found in the raw text, because the reader stops at the first invalid section."""
    in_header = True
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        if has_secret(line):
            what = "the line has a token, a private key, or a password in a URL: it is recorded in the image"
            yield LintFinding(number, "", "secret-in-text", "warning", what, _ADVICE)
        if match := _AFTER_HASH.search(line):
            what = f"{match[1][:60]} stays as it is, because a # comes before it"
            hint = "write it on a line without #"
            yield LintFinding(number, "", "variable-after-hash", "warning", what, hint)
        if trimmed(line).startswith("%"):
            in_header = False
            yield from _check_name(number, line)
        elif line[:10].lower() == "bootstrap:":
            in_header = True
        elif in_header and (match := _COMMENTED.match(line)):
            text = f"# begins a comment: the value is {trimmed(before_comment(match[1]))[:60]!r}"
            yield LintFinding(number, "", "header-comment", "warning", text, "write a space before a comment")


def _check_name(number: int, line: str) -> Iterator[LintFinding]:
    written, _, rest = line.lstrip("%").partition(" ")
    name = written.lower()
    shown = words_of(line)[0][:40]
    if line[0] != "%":
        hint = "write it in the first column; no line of a script may begin with blanks and %"
        yield LintFinding(number, "", "indented-section", "error", f"the section {shown} is indented", hint)
    elif match := _TAB.match(line):
        hint = f"write a space after %{match[1]}"
        yield LintFinding(number, "", "tab-after-section", "error", f"a tab follows %{match[1]}", hint)
    elif name not in SECTIONS | APP_SECTIONS:
        near = get_close_matches(name[:40], sorted(SECTIONS | APP_SECTIONS), 1)
        hint = f"write %{near[0]}" if near else "the sections are %" + ", %".join(sorted(SECTIONS))
        yield LintFinding(number, "", "unknown-section", "error", f"unknown section {shown}", hint)
    elif name == "files":
        yield from _check_files_name(number, rest)


def _check_files_name(number: int, rest: str) -> Iterator[LintFinding]:
    before = before_comment(rest)
    words = words_of(before)
    if before and not words:
        text = "Apptainer silently copies nothing if blanks follow %files"
        yield LintFinding(number, "files", "blank-after-files", "warning", text, "write %files and nothing else")
    elif len(words) == 2 and words[0] != "from":
        text = f"{words[0][:40]!r} is read as 'from'"
        yield LintFinding(number, "files", "files-from", "warning", text, f"write %files from {words[1][:40]}")
