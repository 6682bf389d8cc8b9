"""Warnings about a valid definition file: things that would surprise its author."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.definition.blanks import before_comment, trimmed
from sifmake.definition.variables import pair_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.definition.model import BuildStage, Definition, Section

_SECRET_NAME = re.compile(
    r"password|passwd|passphrase|secret|credential|token(?!i[sz])"
    r"|(?:^|_)(?:pass|pw|pwd|pat|(?:api|access|auth|private|ssh)_?key)(?:$|_)",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"gh[pousr]_[A-Za-z0-9]{20}|github_pat_|glpat-[\w-]{10}|AKIA[0-9A-Z]{16}|xox[abpr]-|hf_[A-Za-z]{20}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY|://[^/\s:@]+:[^/\s:@]+@"
)
_HOST_TMP = re.compile(r"(?<![\w./-])/(?:var/)?tmp(?![\w-])")
_APT = frozenset(("apt", "apt-get"))
_APT_INSTALLS = frozenset(("install", "upgrade", "dist-upgrade", "full-upgrade"))
_APT_LISTS = re.compile(r"/var/lib/apt(?:/lists)?(?:/|\s|$|\*)")
_RESERVED = re.compile(
    r"org\.label-schema\.(?:schema-version|build-arch|build-date|usage(?:\.apptainer\..*|\.singularity\.deffile\..*)?)"
    r"|org\.opencontainers\.image\.(?:architecture|created|base\.name|base\.digest)"
)


@dataclass(frozen=True)
class Note:
    """A warning.

    Attributes:
        line: Number in the file.
        section: Name; empty for the header.
        rule: Short name.
        text: What is wrong, a clause.
        hint: What to write instead.
    """

    line: int
    section: str
    rule: str
    text: str
    hint: str


def check_stages(definition: Definition) -> Iterator[Note]:
    """Yield warnings about all stages."""
    for stage in definition.stages:
        last = stage is definition.last
        yield from _check_base(stage)
        yield from _check_arguments(stage)
        yield from _check_files(stage)
        yield from _check_labels(stage, last=last)
        yield from _check_scripts(stage)
        yield from _check_post(stage, last=last)


def is_secret(name: str, value: str = "") -> bool:
    """Tell whether a variable's name or value looks like that of a secret."""
    return _SECRET_NAME.search(name) is not None or has_secret(value)


def has_secret(text: str) -> bool:
    """Tell whether a text has a token, a private key or a password in a URL."""
    return _SECRET_VALUE.search(text) is not None


def _lines(section: Section | None) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is not a comment."""
    if section:
        for index, raw in enumerate(section.text.split("\n")):
            line = trimmed(raw)
            if line and not line.startswith("#"):
                yield section.lines.of(index), line


def _check_base(stage: BuildStage) -> Iterator[Note]:
    base = stage.base
    if base.agent in {"docker", "oras"} and "@sha256:" not in base.reference:
        text = f"the base {base.reference[:80]} has no digest, so it can change"
        hint = "write NAME:TAG@sha256:..., or build it in a project, whose lock records the digest"
        yield Note(base.line, "", "unpinned-base", text, hint)
    if base.agent in {"http", "https"}:
        text = f"the base {base.agent}://{base.reference[:80]} can change"
        yield Note(base.line, "", "unpinned-base", text, "build it in a project, whose lock records the digest")


def _check_arguments(stage: BuildStage) -> Iterator[Note]:
    for number, line in _lines(stage.sections.get("arguments")):
        pair = pair_of(line)
        if pair is None:
            text = f"{line[:60]!r} is not NAME=VALUE and is ignored"
            yield Note(number, "arguments", "argument-not-used", text, "write NAME=VALUE, or begin it with #")
        elif is_secret(*pair):
            text = f"the argument {pair[0][:60]} looks like a secret: its value is recorded in the image"
            hint = "remove it and use --secret, which leaves nothing in the image"
            yield Note(number, "arguments", "secret-in-argument", text, hint)


def _check_files(stage: BuildStage) -> Iterator[Note]:
    for group in stage.files:
        for copy in group.copies:
            if _HOST_TMP.match(copy.destination):
                text = f"{copy.destination} is hidden when the image runs, because the host's folder is mounted there"
                yield Note(copy.line, "files", "host-tmp", text, "copy to another folder")
            if copy.ignored:
                text = f"{copy.ignored[:60]!r} is ignored: a line has only SOURCE and DESTINATION"
                hint = "put double quotes around a path with blanks, and a comment on a line of its own"
                yield Note(copy.line, "files", "files-third-word", text, hint)


def _check_labels(stage: BuildStage, *, last: bool) -> Iterator[Note]:
    section = stage.sections.get("labels")
    if section and not last:
        text = "labels of this stage are lost: only those of the last stage are kept"
        yield Note(section.line, "labels", "label-lost", text, "move them to the last stage")
    seen: dict[str, int] = {}
    for number, line in _lines(section):
        name, _, value = line.partition(" ")
        if "\t" in name:
            text = f"a tab does not end a label's name: the name is {name[:60]!r}"
            yield Note(number, "labels", "tab-in-label", text, "write a space between name and value")
        elif not value and "=" in name:
            text = f"the label {name[:60]!r} has no value, because = does not end a name"
            yield Note(number, "labels", "label-without-value", text, "write a space between name and value")
        if name in seen:
            text = f"this replaces the label {name[:60]!r} of line {seen[name]}"
            yield Note(number, "labels", "label-lost", text, "remove one of them")
        if _RESERVED.fullmatch(name):
            text = f"the build sets the label {name[:60]!r}: yours is ignored without --force"
            yield Note(number, "labels", "label-lost", text, "use a name of your own")
        seen[name] = number


def _check_scripts(stage: BuildStage) -> Iterator[Note]:
    for name in ("runscript", "startscript", "test"):
        section = stage.sections.get(name)
        if section is None:
            continue
        own = trimmed(section.text).startswith("#!")
        if own and not section.text.startswith("#!"):
            text = "#! has no effect after a blank line"
            yield Note(section.lines.of(0), name, "late-shebang", text, "put #! on the first line of the section")
        if len(section.words) > 1 or (own and section.words):
            text = f"the shell gets the words after %{name} as one argument"
            yield Note(section.line, name, "section-arguments", text, "write set -... as the first line of the script")


def _check_post(stage: BuildStage, *, last: bool) -> Iterator[Note]:
    installs = 0
    cleaned = False
    for number, line in _lines(stage.sections.get("post")):
        code = before_comment(line) if " #" in line else line
        if match := _HOST_TMP.search(code):
            text = f"{match[0]} is the host's folder when Apptainer builds, and not part of the image"
            hint = "use a folder of your own, such as /build, and remove it at the end"
            yield Note(number, "post", "host-tmp", text, hint)
        actions = _apt_actions(code)
        installs = installs or (number if actions & _APT_INSTALLS else 0)
        cleaned = cleaned or "distclean" in actions or bool(_APT_LISTS.search(code))
    if installs and not cleaned and last:
        text = "apt-get leaves its package lists in the image"
        yield Note(installs, "post", "apt-lists", text, "add rm -rf /var/lib/apt/lists/* after it")


def _apt_actions(code: str) -> set[str]:
    """Return the subcommands of ``apt-get`` in a line."""
    found: set[str] = set()
    for command in re.split(r"[;&|]+", code):
        words = command.split()
        at = next((index for index, word in enumerate(words) if word in _APT), None)
        found.update(words[at + 1 :] if at is not None else ())
    return found
