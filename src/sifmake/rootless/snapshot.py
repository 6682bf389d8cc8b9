"""The state of a shell between two pieces of one script, as text that restores it.

The current folder, umask, options, and all variables with their export flag carry over. A shell's own description is
parsed and rewritten, so that equal states give equal texts for every shell. Functions do not carry over. In the place
of each that is known, there is one that says so, because another program with this name might run.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from sifmake.rootless.errors import RootlessError
from sifmake.rootless.script import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LARGEST = 4 << 20
"""Most bytes to read of a shell's description of its state."""
_OWN = re.compile(
    r"BASH\w*|SHELLOPTS|E?UID|PPID|DIRSTACK|GROUPS|HOST(NAME|TYPE)|MACHTYPE|OSTYPE|LINENO|OPTERR|S?RANDOM|SECONDS"
    r"|EPOCH\w+|FUNCNAME|PIPESTATUS|POSIXLY_CORRECT|_|PS4|PWD|OLDPWD|SHLVL|COMP_WORDBREAKS|SHELL"
)
"""Variables that a shell sets itself."""
_FROM_OUTSIDE = re.compile(r"TERM|\w+_(proxy|PROXY)")
"""Variables from the environment that are not in any key: left out unless the script changed them."""
_OPTIONS = ("allexport", "noclobber", "noglob", "nounset", "pipefail", "verbose")
_LETTERS = {"allexport": "a", "noclobber": "C", "noglob": "f", "nounset": "u", "verbose": "v"}
_FUNCTION = re.compile(
    r"^(?:declare -f\w* ([A-Za-z_]\w*)|([A-Za-z_]\w*) is (?:a (?:shell )?function|an alias|aliased)\b.*)$",
    re.MULTILINE | re.ASCII,
)
_LOST = (
    '%s() { echo "sifmake: the function or alias %s of an earlier step does not carry over: '
    'make it again in this step" >&2; exit 1; }'
)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_WORD = re.compile(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"|\$'((?:[^'\\]|\\.)*)'|\\(.)|([^\s'\"\\$()]+|\$)", re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\33", "E": "\33"}


def read_state(printed: bytes, environment: Mapping[str, str]) -> bytes:
    """Return the text that restores the state printed by a shell.

    Args:
        printed: The output of the end of a piece; see :mod:`~sifmake.rootless.script`.
        environment: The environment of the piece.

    Raises:
        RootlessError: The state cannot be carried over or is not valid.
    """
    try:
        head, options, exports, functions, variables = printed.decode("latin-1").split(PARTS.decode(), 4)
        flags, umask, folder = head.split("\n", 2)
        exported = {name for name, _ in _assignments(_without_command(exports))}
        given = {name: os.fsencode(value).decode("latin-1") for name, value in environment.items()}
        lines = [f"umask {int(umask, 8):04o}", *_lines(variables, exported, given)]
    except ValueError:
        raise RootlessError(
            "the shell's state at the end of a step cannot be read", hint="remove the line `# sifmake: step`"
        ) from None
    if not folder.startswith("/"):
        raise RootlessError(
            "the current folder of the shell is removed at the end of a step",
            hint="change to another one above the line `# sifmake: step`",
        )
    lost = {listed or asked for listed, asked in _FUNCTION.findall(functions)}
    lines += [_LOST % (name, name) for name in sorted(lost)]
    lines += [f"cd {_quoted(folder[:-1])} || exit", _options(options, flags)]
    return "\n".join([*lines, ""]).encode("latin-1")


def _lines(variables: str, exported: set[str], given: Mapping[str, str]) -> Iterator[str]:
    found = dict(_assignments(variables))
    for name in sorted(given):  # it is in the environment of the next piece as well
        if _NAME.fullmatch(name) and not _OWN.fullmatch(name) and not (name in found and name in exported):
            yield f"unset {name}"
    for name, value in sorted(found.items()):
        if _OWN.fullmatch(name) or (_FROM_OUTSIDE.fullmatch(name) and given.get(name) == value):
            continue
        if value is None:
            raise RootlessError(
                f"the array {name} cannot be carried over to the next step",
                hint="use it in one step only, or remove the line `# sifmake: step`",
            )
        yield f"{'export ' if name in exported else ''}{name}={_quoted(value)}"


def _options(printed: str, flags: str) -> str:
    """Return the command that sets the shell's options; errexit and xtrace were off when it printed them."""
    words = [_switch(name, on=f"set -o {name}\n" in printed) for name in _OPTIONS if f"o {name}\n" in printed]
    words = [word for name, word in zip(_OPTIONS, words, strict=False) if word]
    by_letter = [f"{'-' if letter in flags else '+'}{letter}" for letter in ("f", "u", "e", "x")]
    return " ".join(["set", *words, *by_letter])


def _switch(name: str, *, on: bool) -> str:
    letter = _LETTERS.get(name)
    if letter in ("f", "u"):  # switched off before they were printed: use their letters
        return ""
    return f"{'-' if on else '+'}{letter or f'o {name}'}"


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _without_command(exports: str) -> str:
    """Return what ``export -p`` prints without the command's words."""
    return re.sub(r"^(export|declare -[a-zA-Z]+) ", "", exports, flags=re.MULTILINE)


def _assignments(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield names and values of lines ``NAME=WORD``; None for an array. ValueError if there is something else."""
    at = 0
    while at < len(text):
        if text[at] == "\n":
            at += 1
            continue
        found = _NAME.match(text, at)
        if not found:
            raise ValueError(text[at : at + 40])
        at = found.end()
        if text[at : at + 1] != "=":
            yield found[0], ""
        elif text[at + 1 : at + 2] == "(":
            at = text.find("\n", at)  # its elements are quoted such that none has a line break
            yield found[0], None
        else:
            value, at = _word(text, at + 1)
            yield found[0], value


def _word(text: str, at: int) -> tuple[str, int]:
    """Return the shell word at a place, without quotes, and the place after it."""
    parts: list[str] = []
    while at < len(text) and text[at] != "\n":
        found = _WORD.match(text, at)
        if not found:
            raise ValueError(text[at : at + 40])
        single, double, ansi, escaped, plain = found.groups()
        if double is not None:
            parts.append(re.sub(r'\\([\\"$`\n])', r"\1", double))
        elif ansi is not None:
            parts.append(_ESCAPE.sub(_unescape, ansi))
        else:
            parts.append(single if single is not None else escaped or plain)
        at = found.end()
    return "".join(parts), at


def _unescape(found: re.Match[str]) -> str:
    text = found[1]
    if text[0] == "x":
        return chr(int(text[1:], 16))
    if text[0] in "01234567":
        return chr(int(text, 8) & 0xFF)
    return _ESCAPES.get(text, text)
