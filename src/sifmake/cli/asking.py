"""Asking for a passphrase on the terminal; the library asks nothing itself, it is given what asks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError

if TYPE_CHECKING:
    from collections.abc import Callable


def terminal() -> Callable[[str], str] | None:
    """Return what asks on the terminal; None where standard input is not a terminal."""
    return None if sys.stdin is None or not sys.stdin.isatty() else ask


def ask(question: str) -> str:
    """Ask for a passphrase on the terminal.

    Raises:
        KeyFileError: The terminal's input ends without an answer (Ctrl-D).
    """
    from getpass import getpass

    try:
        return getpass(question)
    except EOFError:
        raise KeyFileError("no passphrase was given") from None
