"""Cut ``%post`` into steps: ``# sifmake: step`` and ``# sifmake: expires 7d``, each on a line of its own.

A marker must be at column 0 between two commands of the top level; anywhere else it is an error. A step starts with the
folder, umask, options and variables of the step before. Functions, aliases, traps, redirections of the shell and jobs
do not carry over; a marker after a command that makes one is an error, because the script may rely on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from sifmake.definition.apps import READ_APPS, app_post
from sifmake.definition.model import Lines
from sifmake.definition.script_command import interpreter_words
from sifmake.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.definition.model import App, BuildStage, Section
    from sifmake.definition.problems import DefinitionPlace
    from sifmake.definition.shell_scan import ShellCommand

_MARKER = re.compile(r"[ \t]*#[ \t]*sifmake[ \t]*:(?P<text>.*)")
_EXPIRES = re.compile(r"expires[ \t]+(.*)", re.ASCII)
_AGE = re.compile(r"([1-9][0-9]{0,5})([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SHELLS = frozenset(("sh", "dash", "bash", "ash"))
_LOST = {
    "f()": "a function",
    "function": "a function",
    "coproc": "a job",
    "&": "a job",
    "alias": "an alias",
    "trap": "a trap",
    "exec": "a redirection of the shell, or its end",
    "shift": "the script's arguments",
    "ulimit": "a limit of the process",
    "shopt": "an option of bash",
}
"""Commands whose effect ends with a step, and a name for the effect."""


@dataclass(frozen=True)
class PostStep:
    """A part of ``%post`` that is run and cached on its own.

    Attributes:
        text: Text of the script, without markers.
        lines: Its line numbers in the file.
        expires: Seconds for which its result may be reused; None for ever.
    """

    text: str
    lines: Lines
    expires: int | None = None


@dataclass(frozen=True)
class _Marker:
    index: int
    expires: int | None


def post_steps(stage: BuildStage, place: DefinitionPlace, limits: Limits = DEFAULT_LIMITS) -> tuple[PostStep, ...]:
    """Return the steps of ``%post``, with ``%appinstall`` of all apps at the end; none if there is nothing to run.

    Args:
        stage: The stage with its sections.
        place: For messages.
        limits: Bounds on the number of steps.

    Raises:
        DefinitionError: A marker is in the wrong place, or something before it would be lost; or there are too many.
    """
    post = stage.sections.get("post")
    steps = _cut(post, place) if post else []
    if post and len(steps) > limits.definition_steps:
        what = f"%post has more than {limits.definition_steps} steps (limit definition-steps)"
        raise place.error(steps[limits.definition_steps].lines.of(0), what, "join some of them")
    installs = any(app.text("appinstall") for app in stage.apps)
    if not steps and not installs:
        return ()
    steps = steps or [PostStep("", Lines(((0, stage.line),)))]
    for app in stage.apps:
        _refuse_markers(app, place)
        steps[-1] = _with_app(steps[-1], app)
    if stage.apps and (post is None or _shell_of(post) in _SHELLS):
        steps[0] = replace(steps[0], text=READ_APPS + steps[0].text)
    return tuple(steps)


def _cut(post: Section, place: DefinitionPlace) -> list[PostStep]:
    lines = post.text.split("\n")[:-1]
    markers = [_parsed(index, match["text"].strip(), post, place) for index, match in _markers(lines)]
    if not markers:
        return [PostStep(post.text, post.lines)]
    _check(post, markers, place)
    steps: list[PostStep] = []
    begin = 0
    inside: list[_Marker] = []
    for marker in (*markers, _Marker(len(lines), None)):
        if marker.expires is not None:  # it belongs to its step and does not begin one
            inside.append(marker)
            continue
        steps += _step(range(begin, marker.index), lines, inside, post, place)
        begin, inside = marker.index + 1, []
    return steps


def _step(
    indices: range, lines: list[str], inside: list[_Marker], post: Section, place: DefinitionPlace
) -> Iterator[PostStep]:
    """Yield the step of some lines, if there is a command in them."""
    if len(inside) > 1:
        raise place.error(post.lines.of(inside[1].index), "the step has two expiry times", section="post")
    kept = [index for index in indices if not inside or index != inside[0].index]
    if any(_is_command(lines[index]) for index in kept):
        runs = tuple((at, post.lines.of(index)) for at, index in enumerate(kept))
        text = "".join(f"{lines[index]}\n" for index in kept)
        yield PostStep(text, Lines(_merged(runs)), inside[0].expires if inside else None)


def _markers(lines: list[str]) -> list[tuple[int, re.Match[str]]]:
    found = ((index, _MARKER.fullmatch(line)) for index, line in enumerate(lines) if "sifmake" in line)
    return [(index, match) for index, match in found if match]


def _parsed(index: int, text: str, post: Section, place: DefinitionPlace) -> _Marker:
    if text == "step":
        return _Marker(index, None)
    if (match := _EXPIRES.fullmatch(text)) and (seconds := parse_expiry(match[1])):
        return _Marker(index, seconds)
    hint = "write `# sifmake: step` or `# sifmake: expires 7d` (s, m, h, d, w)"
    raise place.error(post.lines.of(index), f"unknown marker {text[:40]!r}", hint, section="post")


def parse_expiry(text: str) -> int | None:
    """Return the seconds in a text such as ``7d`` (s, m, h, d, w); None if it is not of that form."""
    match = _AGE.fullmatch(text)
    return int(match[1]) * _SECONDS[match[2]] if match else None


def _check(post: Section, markers: list[_Marker], place: DefinitionPlace) -> None:
    """Refuse markers that are not between two commands, and effects that would be lost at a marker."""
    from sifmake.definition.shell_scan import ShellScan
    from sifmake.definition.shell_words import UnclearError

    first = post.lines.of(markers[0].index)
    name = _shell_of(post)
    if name not in _SHELLS:
        what = f"{name[:40]} runs %post, which cannot be cut into steps"
        raise place.error(first, what, "remove the marker, or use sh, dash, bash or ash", section="post")
    scan = ShellScan(post.text, bash=name == "bash")
    try:
        scan.run()
    except UnclearError as error:
        what = f"cannot tell where the steps of %post begin: {error}"
        hint = "remove the markers, or write this line more simply"
        raise place.error(post.lines.of(error.line), what, hint, section="post") from None
    lines = post.text.split("\n")
    for marker in markers:
        if marker.index not in scan.comments or not lines[marker.index].startswith("#"):
            what = "a marker is inside a command, here-document, quote or continued line, or is indented"
            hint = "put it between two commands, at the start of its line"
            raise place.error(post.lines.of(marker.index), what, hint, section="post")
    last = max((marker.index for marker in markers if marker.expires is None), default=-1)
    for command in scan.commands:
        if command.line < last and (lost := _lost(command)):
            hint = f"move it below line {post.lines.of(last)}, or remove the marker there"
            what = f"{lost} cannot be carried over to the next step"
            raise place.error(post.lines.of(command.line), what, hint, section="post")


def _shell_of(post: Section) -> str:
    """Return the name of the program that reads the script."""
    names = [word.rpartition("/")[2] for word in interpreter_words(post) if not word.startswith("-")]
    return next((name for name in names if name not in {"env", "busybox"}), "sh")


def _lost(command: ShellCommand) -> str:
    """Return the effect of a command that ends with the step; empty for other commands."""
    name = command.words[0] if command.words else ""
    if name == "set" and any(word == "--" or word[0] not in "-+" for word in _set_words(command)):
        return "the script's arguments"
    return _LOST.get(name.strip("\\'\""), "")


def _set_words(command: ShellCommand) -> list[str]:
    """Return the words of ``set`` without the option names after ``-o``."""
    words = command.words
    return [word for before, word in pairwise(words) if not re.fullmatch(r"[-+][a-zA-Z]*o", before)]


def _is_command(line: str) -> bool:
    text = line.strip()
    return bool(text) and not text.startswith("#")


def _refuse_markers(app: App, place: DefinitionPlace) -> None:
    section = app.sections.get("appinstall")
    for index, _ in _markers(section.text.split("\n") if section else []):
        number = section.lines.of(index) if section else 0
        raise place.error(number, "markers are allowed only in %post", "remove it", section="appinstall")


def _with_app(step: PostStep, app: App) -> PostStep:
    before, after = app_post(app)
    section = app.sections.get("appinstall")
    at = step.text.count("\n") + before.count("\n")
    line = section.line if section else 0
    runs = (*step.lines.runs, (step.text.count("\n"), line))
    if section:
        runs += section.lines.part(0, section.text.count("\n"), at)
    return PostStep(step.text + before + app.text("appinstall") + after, Lines(runs), step.expires)


def _merged(runs: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """Leave out pairs implied by the pair before."""
    return tuple(pair for number, pair in enumerate(runs) if number == 0 or pair[1] - runs[number - 1][1] != 1)
