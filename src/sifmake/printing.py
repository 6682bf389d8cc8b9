"""All output of commands: control characters in names and texts from outside are escaped.

Escape sequences could change what the user sees, or what the terminal types. Other modules must not write to standard
output and error; a test checks that. Raw data that the user asked for (``sif dump``, ``key export``) goes through
:func:`print_data`.
"""

from __future__ import annotations

import os
import sys

from sifmake.errors import SifmakeError, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO

_DELETE = "\x7f"


def print_lines(lines: Iterable[str]) -> None:
    """Print lines; line breaks and control characters in them are escaped."""
    for line in lines:
        print_output(f"{one_line(line)}\n")


def print_error(line: str) -> None:
    """Print a line to standard error, with line breaks and control characters escaped."""
    write_note(sys.stderr, f"{one_line(line)}\n")


def print_json(document: Any) -> None:
    """Print a JSON document in ASCII, which every terminal can show."""
    import json

    print_output(json.dumps(document, indent=2).replace(_DELETE, "\\u007f") + "\n")


def print_text(text: str) -> None:
    """Print a text of several lines from an image; on a terminal, control characters are made visible."""
    if sys.stdout.isatty():
        text = "".join(c if c == "\t" else one_line(c) if c != "\n" else c for c in text)
    print_data([text.encode(errors="surrogateescape")])


def print_data(pieces: Iterable[bytes]) -> None:
    """Copy bytes to standard output unchanged."""
    _to_output(sys.stdout.flush)
    for piece in pieces:
        _to_output(sys.stdout.buffer.write, piece)
    _to_output(sys.stdout.buffer.flush)


def print_output(text: str) -> None:
    """Print a text of our own to standard output; it goes nowhere if that is closed.

    Raises:
        SifmakeError: It cannot be written.
        BrokenPipeError: Nobody reads it any more.
    """
    if sys.stdout is not None:
        _to_output(_write, sys.stdout, text)


def write_note(stream: TextIO | None, text: str) -> None:
    """Write a text that says how work goes; where it cannot be written (a log on a full disk), work goes on without."""
    if stream is None:
        return
    try:
        _write(stream, text)
        stream.flush()
    except OSError:
        _discard(stream)


def output_failed(error: OSError) -> Exception:
    """Let no more be written to standard output; return the error to raise."""
    _discard(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return error
    what = error.strerror or str(error)
    return SifmakeError(what, where="standard output", hint="see where it is redirected to")


def _to_output(write: Callable[..., object], *arguments: object) -> None:
    try:
        write(*arguments)
    except OSError as error:
        raise output_failed(error) from None


def _discard(stream: TextIO) -> None:
    """Let what is still written to a stream go nowhere: at its end Python would stumble over it and say 120."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _write(stream: TextIO, text: str) -> None:
    """Write a text; characters that the stream's encoding lacks are escaped."""
    encoding = getattr(stream, "encoding", None) or "utf-8"  # the streams that doit puts in the place have none
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def terminal_width() -> int:
    """Return the columns of the terminal, 80 if there is none; :mod:`shutil` would load three compressors for it."""
    try:
        given = int(os.environ.get("COLUMNS") or 0)
        if given > 0 or sys.__stdout__ is None:
            return given or 80
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
