"""The script as a shell gets it: with marks in its trace, and with the state of the shell carried over.

The first line begins with ours, so that all lines keep their numbers. What the shell traces then has the number of the
line between two control characters, which :class:`TraceReader` takes out again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SCRIPT = "/.post.script"
"""Where a script stands while it runs, as in the peers."""
BEFORE, AFTER, LABELS = "/.post.before", "/.post.after", "/.build.labels"
"""Files that exist while a script runs: the state that it begins with, the state that it ends with, its labels."""
PARTS = b"----\n"
"""Stands between the parts of the state."""
_SHELLS = frozenset({"sh", "bash", "dash", "ash"})
_MARK = "{ PS4='+\2${LINENO-}\3 '; } 2>/dev/null;"
_RESTORE = "{ set +x; } 2>/dev/null; . %s;"
_STATE = (
    'set -- "$-"; set +exuf; { echo "$1"; umask; pwd; echo ----; set +o; echo ----; export -p; echo ----; '
    "if (set -o posix); then set -o posix; fi; set; } >|%s;"
)
_TRACED = re.compile(rb"(\++)\x02(\d*|\$\{LINENO-\})\x03 ")
_LONGEST_LINE = 1 << 16


def is_shell(words: Sequence[str]) -> bool:
    """Return whether the words run a script by a shell of the Bourne family, straight."""
    return words[0].rpartition("/")[2] in _SHELLS and "-c" not in words[1:-1]


def with_marks(script: bytes, words: Sequence[str], *, restore: bool, carry: bool) -> bytes:
    """Return the script with what is needed to follow it.

    Args:
        script: Its text.
        words: The program that runs it; one that is not a shell gets the text unchanged.
        restore: Whether to begin with the state in ``BEFORE``.
        carry: Whether to write the state to ``AFTER`` in the end.
    """
    if not is_shell(words):
        return script
    first = _MARK + (_RESTORE % BEFORE if restore else "")
    end = b"" if script.endswith(b"\n") or not script else b"\n"
    last = "{ %s } 2>/dev/null\n" % (_STATE % AFTER) if carry else ""
    return first.encode() + b" " + script + end + last.encode()


class TraceReader:
    """Takes the marks out of what a script prints, and remembers the last one.

    Attributes:
        line: Line of the last command that the shell traced; 0 if it does not say.
        command: Its words.
    """

    def __init__(self, output: Callable[[bytes], None]) -> None:
        self.line = 0
        self.command = b""
        self._output = output
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take a piece of output; whole lines are passed on."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self._output(b"".join([self._plain(line) + b"\n" for line in lines]))
        if len(self._rest) > _LONGEST_LINE:
            self.end()

    def end(self) -> None:
        """Pass on what has come of an unfinished line."""
        if self._rest:
            self._output(self._plain(self._rest))
        self._rest = b""

    def _plain(self, line: bytes) -> bytes:
        """Return a line without marks. What runs in the background may print in the middle of one."""
        parts = _TRACED.split(line)
        if len(parts) > 1:
            self.command, number = parts[-1], parts[-2]
            self.line = int(number) if number.isdigit() else 0
            parts[2::3] = [b" "] * len(parts[2::3])
        return b"".join(parts)


def line_of(script: bytes, reader: TraceReader) -> int:
    """Return the line of the script that was traced last; 0 if that cannot be told.

    Debian's dash traces without line numbers: there it is the one line that has the words.
    """
    lines = script.split(b"\n")
    if reader.line:
        return reader.line if reader.line <= len(lines) else 0
    words = _bare(reader.command).split()
    found = [number for number, line in enumerate(lines, 1) if words and _bare(line).split() == words]
    if not found:
        found = [number for number, line in enumerate(lines, 1) if words and _bare(line).split()[:1] == words[:1]]
    return found[0] if len(found) == 1 else 0


def _bare(text: bytes) -> bytes:
    """Return a command without what quotes its words."""
    return re.sub(rb"""['"\\]|;\s*$|\s#.*$""", b"", text)
