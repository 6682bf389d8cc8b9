"""Asking for a passphrase on the terminal. The library never asks: the command line passes it a function that does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError

if TYPE_CHECKING:
    from collections.abc import Callable


def terminal() -> Callable[[str], str] | None:
    """Return a function that asks on the terminal; None if standard input is not a terminal."""
    return None if sys.stdin is None or not sys.stdin.isatty() else ask


def ask(question: str) -> str:
    """Ask for a passphrase on the terminal.

    Raises:
        KeyFileError: The user ends the input without an answer (Ctrl-D).
    """
    from getpass import getpass

    try:
        return getpass(question)
    except EOFError:
        raise KeyFileError("no passphrase was entered") from None
