"""The text that a shell runs for a script: with marks in its trace, and with the shell's state carried over.

Our commands are put before the first line, on the same line, so that all lines keep their numbers. The shell's trace
then has the line number between two control characters, which :class:`TraceReader` removes again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SCRIPT = "/.post.script"
"""Where a script is while it runs, as with the peers."""
BEFORE, AFTER, LABELS = "/.post.before", "/.post.after", "/.build.labels"
"""Files that exist while a script runs: the state at its start, the state at its end, its labels."""
PARTS = b"----\n"
"""Separates the parts of the state."""
_SHELLS = frozenset({"sh", "bash", "dash", "ash"})
_STARTERS = frozenset({"env", "busybox"})
"""Programs that a shell is started with."""
_MARK = "{ PS4='+\2${LINENO-}\3 '; } 2>/dev/null;"
_RESTORE = "{ set +x; } 2>/dev/null; . %s;"
_STATE = (
    'set -- "$-"; set +exuf; { echo "$1"; umask; pwd; echo ----; set +o; echo ----; export -p; echo ----; '
    "if (declare -F) >/dev/null; then declare -F; else type %s; fi; echo ----; "
    "if (set -o posix); then set -o posix; fi; set; } >|%s;"
)
"""Bash lists its functions; other shells can only tell whether a word is one."""
_TRACED = re.compile(rb"(\++)\x02(\d*|\$\{LINENO-\})\x03 ")
_LONGEST_LINE = 1 << 16


def is_shell(words: Sequence[str]) -> bool:
    """Return whether the command runs a script with a shell of the Bourne family, directly or as ``-c "bash -x"``."""
    if "-c" in words[1:-1]:
        words = [word for word in words[-1].split()[:-1] if not word.startswith("-")]
    names = (word.rpartition("/")[2] for word in words)
    return next((name for name in names if name not in _STARTERS), "") in _SHELLS


def with_marks(script: bytes, words: Sequence[str], *, restore: bool, carry: bool, asked: Sequence[str] = ()) -> bytes:
    """Return the script with the commands needed to trace it.

    Args:
        script: Its text.
        words: The command that runs it; if that is not a shell, the text is unchanged.
        restore: Whether to begin with the state in ``BEFORE``.
        carry: Whether to write the state to ``AFTER`` in the end.
        asked: Words that may be functions; without special characters.
    """
    if not is_shell(words):
        return script
    first = _MARK + (_RESTORE % BEFORE if restore else "")
    end = b"" if script.endswith(b"\n") or not script else b"\n"
    last = "{ %s } 2>/dev/null\n" % (_STATE % (" ".join(["type", *asked]), AFTER)) if carry else ""
    return first.encode() + b" " + script + end + last.encode()


class TraceReader:
    """Removes the marks from a script's output, and remembers the last one.

    Attributes:
        line: Line of the last command that the shell traced; 0 if the trace has no number.
        command: Its words.
    """

    def __init__(self, output: Callable[[bytes], None]) -> None:
        self.line = 0
        self.command = b""
        self._output = output
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take a piece of output, and pass on whole lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self._output(b"".join([self._plain(line) + b"\n" for line in lines]))
        if len(self._rest) > _LONGEST_LINE:
            self.end()

    def end(self) -> None:
        """Pass on an unfinished line."""
        if self._rest:
            self._output(self._plain(self._rest))
        self._rest = b""

    def _plain(self, line: bytes) -> bytes:
        """Return a line without marks; background processes may print in the middle of one."""
        parts = _TRACED.split(line)
        if len(parts) > 1:
            self.command, number = parts[-1], parts[-2]
            self.line = int(number) if number.isdigit() else 0
            parts[2::3] = [b" "] * len(parts[2::3])
        return b"".join(parts)


def line_of(script: bytes, reader: TraceReader) -> int:
    """Return the line of the script that was traced last; 0 if it is unknown.

    Debian's dash traces without line numbers; then it is the only line with these words.
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
    """Return a command without quotes."""
    return re.sub(rb"""['"\\]|;\s*$|\s#.*$""", b"", text)
