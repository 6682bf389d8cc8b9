"""Quoting for the POSIX shell."""

from __future__ import annotations

_SPECIAL = str.maketrans({c: "\\" + c for c in '\\"`$'})


def double_quoted(text: str) -> str:
    """Return a word that a shell reads back as ``text``, in double quotes."""
    return f'"{text.translate(_SPECIAL)}"'


def single_quoted(text: str) -> str:
    """Return a word that a shell reads back as ``text``, in single quotes."""
    return "'" + text.replace("'", "'\"'\"'") + "'"
