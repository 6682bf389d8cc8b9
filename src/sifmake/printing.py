"""Everything that commands print: names and texts of registries, stores, images and files cannot steer a terminal.

Escape sequences in them could change what the user sees, or what the terminal types. Other modules do not write to
standard output and error themselves; a test holds them to it. Data that was asked for as it is (``sif dump``,
``key export``) goes through :func:`print_data`.
"""

from __future__ import annotations

import sys

from sifmake.errors import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

_DELETE = "\x7f"


def print_lines(lines: Iterable[str]) -> None:
    """Print lines; line breaks and control characters in them are escaped."""
    for line in lines:
        _write(sys.stdout, f"{one_line(line)}\n")


def print_error(line: str) -> None:
    """Print a line to standard error, escaped likewise."""
    _write(sys.stderr, f"{one_line(line)}\n")


def print_json(document: Any) -> None:
    """Print a JSON document, in characters that every terminal takes."""
    import json

    _write(sys.stdout, json.dumps(document, indent=2).replace(_DELETE, "\\u007f") + "\n")


def print_text(text: str) -> None:
    """Print a text of several lines from an image; on a terminal its control characters are made visible."""
    if sys.stdout.isatty():
        text = "".join(c if c == "\t" else one_line(c) if c != "\n" else c for c in text)
    print_data([text.encode(errors="surrogateescape")])


def print_data(pieces: Iterable[bytes]) -> None:
    """Copy bytes to standard output as they are."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _write(stream: TextIO | None, text: str) -> None:
    """Write a text; characters that the stream's encoding lacks are escaped."""
    if stream is not None:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
