"""Where passphrases come from: a file, a variable, the user; never the command line's arguments."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake import withheld
from sifmake.errors import KeyFileError

if TYPE_CHECKING:
    from collections.abc import Callable

_VARIABLE = withheld.VARIABLE
_FILE_VARIABLE = "SIFMAKE_PASSPHRASE_FILE"
"""For what systemd calls credentials, and for cron: the secret itself is in no environment then."""
_LONGEST = 4096
"""Bytes of a passphrase that are read."""


@dataclass(frozen=True)
class Passphrase:
    """Gives passphrases when keys need them; bytes that are no UTF-8 are kept by Python's surrogates.

    Attributes:
        file: A file whose first line is the passphrase; None to look in ``SIFMAKE_PASSPHRASE``, and in the file that
            ``SIFMAKE_PASSPHRASE_FILE`` names.
        text: The passphrase itself, before anything else.
        ask: Asks the user with the question that it is given, where nothing else holds it; None if nobody can be asked.
    """

    file: Path | None = None
    text: str | None = field(default=None, repr=False)
    ask: Callable[[str], str] | None = field(default=None, repr=False)

    def known(self) -> str | None:
        """Return the passphrase that is given, or that a file or the variable holds; None if there is none."""
        if self.text is not None:
            return self.text
        path = self._path()
        if path is None:
            return withheld.passphrase()
        with path.open("rb") as file:
            return os.fsdecode(file.readline(_LONGEST).removesuffix(b"\n").removesuffix(b"\r"))

    def _path(self) -> Path | None:
        """Return the file that is read; None where the variable holds the passphrase, or nothing does."""
        if self.file is not None or withheld.passphrase() is not None:
            return self.file
        named = os.environ.get(_FILE_VARIABLE)
        return Path(named) if named else None

    def __call__(self, key: str) -> str:
        """Return the passphrase of the key that the argument names.

        Raises:
            KeyFileError: Nothing holds it and nobody can be asked.
        """
        known = self.known()
        if known is not None:
            return known
        if self.ask is None:
            hint = f"name a file with --passphrase-file or {_FILE_VARIABLE}, or set {_VARIABLE}"
            raise KeyFileError("the key has a passphrase and there is no terminal to ask on", where=key, hint=hint)
        return self.ask(f"Passphrase of {key}: ")

    def wrong(self, key: str) -> KeyFileError:
        """Return the error for a passphrase that does not open a key: says where it came from."""
        if self.text is not None:
            hint = "it came from the caller"
        elif (path := self._path()) is not None:
            hint = f"it came from the first line of {path}"
        elif withheld.passphrase() is not None:
            hint = f"it came from the variable {_VARIABLE}"
        else:
            hint = "try again"
        return KeyFileError("the passphrase does not open this key", where=key, hint=hint)
