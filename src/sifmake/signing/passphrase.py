"""Sources of passphrases: a file, a variable, the user; never the arguments of the command line."""

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
"""For systemd credentials and cron: with it, the secret itself is not in the environment."""
_LONGEST = 4096
"""Most bytes of a passphrase."""


@dataclass(frozen=True)
class Passphrase:
    """Provides passphrases when keys need them; bytes that are not UTF-8 are kept as Python's surrogates.

    Attributes:
        file: A file whose first line is the passphrase; None to look in ``SIFMAKE_PASSPHRASE``, and in the file that
            ``SIFMAKE_PASSPHRASE_FILE`` names.
        text: The passphrase itself; takes precedence over everything else.
        ask: Asks the user a question, if there is no other source; None if there is no user to ask.
    """

    file: Path | None = None
    text: str | None = field(default=None, repr=False)
    ask: Callable[[str], str] | None = field(default=None, repr=False)

    def known(self) -> str | None:
        """Return the passphrase that is given or comes from a file or the variable; None if there is none."""
        if self.text is not None:
            return self.text
        path = self._path()
        if path is None:
            return withheld.passphrase()
        with path.open("rb") as file:
            return os.fsdecode(file.readline(_LONGEST).removesuffix(b"\n").removesuffix(b"\r"))

    def _path(self) -> Path | None:
        """Return the file to read; None if the variable has the passphrase, or there is none."""
        if self.file is not None or withheld.passphrase() is not None:
            return self.file
        named = os.environ.get(_FILE_VARIABLE)
        return Path(named) if named else None

    def __call__(self, key: str) -> str:
        """Return the passphrase of a key, which the argument names.

        Raises:
            KeyFileError: There is no source for it, and no user to ask.
        """
        known = self.known()
        if known is not None:
            return known
        if self.ask is None:
            hint = f"name a file with --passphrase-file or {_FILE_VARIABLE}, or set {_VARIABLE}"
            raise KeyFileError("the key has a passphrase, but there is no terminal to ask on", where=key, hint=hint)
        return self.ask(f"Passphrase of {key}: ")

    def wrong(self, key: str) -> KeyFileError:
        """Return the error for a passphrase that does not open a key; the hint says where it came from."""
        if self.text is not None:
            hint = "it came from the caller"
        elif (path := self._path()) is not None:
            hint = f"it came from the first line of {path}"
        elif withheld.passphrase() is not None:
            hint = f"it came from the variable {_VARIABLE}"
        else:
            hint = "try again"
        return KeyFileError("the passphrase does not open this key", where=key, hint=hint)
