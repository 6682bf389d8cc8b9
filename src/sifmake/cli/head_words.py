"""Apptainer's options that come before a command: ``-q -s -d -v --silent --nocolor --verbose``."""

from __future__ import annotations

SILENT = 2
"""Value of ``quiet`` that hides warnings too; 1 shows them."""
_LONG = {"-q": "--quiet", "-s": "--silent", "-d": "--debug", "-v": "--verbose"}
_IDLE = frozenset({"--nocolor", "--verbose"})


def split_head(words: list[str]) -> tuple[list[str], bool]:
    """Return the words to put after a command that runs programs, and whether the user wants no warnings.

    After such a command ``-s`` and ``-v`` would be other options, so the remaining ones are spelled out.
    """
    long = [word for given in words for word in _written_out(given)]
    kept = [word for word in long if word not in _IDLE and word != "--silent"]
    silent = "--silent" in long
    return [*kept, *(["--quiet"] if silent else [])], silent


def _written_out(word: str) -> list[str]:
    letters = [f"-{letter}" for letter in word[1:]]
    return [_LONG[letter] for letter in letters] if letters and all(one in _LONG for one in letters) else [word]
