"""Errors of paths that were made absolute name them as the user typed them; imported only to report an error."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from shlex import quote

from sifmake.errors import SifmakeError


def name_as_typed(error: OSError | SifmakeError, *words: str) -> None:
    """Replace the absolute forms of relative paths in an error by the words that the user typed."""
    for word in words:
        with suppress(OSError):  # the current folder may be gone
            if word and not word.startswith("/"):
                _replace(error, os.path.normpath(Path(word).absolute()), word)


def _replace(error: OSError | SifmakeError, whole: str, word: str) -> None:
    if isinstance(error, SifmakeError):
        error.where = _renamed(error.where, whole, word)
        error.hint = error.hint.replace(quote(whole), quote(word))
    elif isinstance(error.filename, str):
        error.filename = _renamed(error.filename, whole, word)


def _renamed(text: str, whole: str, word: str) -> str:
    """Return the text with ``word`` in place of ``whole`` at its beginning, where a path ends or goes on."""
    rest = text.removeprefix(whole)
    return f"{word}{rest}" if rest != text and rest[:1] in ("", "/", ":") else text
