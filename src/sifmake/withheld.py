"""Secrets in variables: the passphrase leaves the environment before anything is read, and children get none.

Programs that are started inherit the environment, those in a container too. So a command takes the passphrase out of it
and keeps it for the one place that asks for it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

VARIABLE = "SIFMAKE_PASSPHRASE"
_SECRETS = frozenset({VARIABLE, "SIFMAKE_DOCKER_USERNAME", "SIFMAKE_DOCKER_PASSWORD"})
"""Variables of our own that no other program needs; what the peers' are called, the peers may read."""

_kept: dict[str, str] = {}


class Withheld:
    """A block in which the environment has no passphrase; afterwards it has it again."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._value: str | None = None

    def __enter__(self) -> None:
        self._value = self._environ.pop(VARIABLE, None)
        if self._value is not None:
            _kept[VARIABLE] = self._value

    def __exit__(self, *_: object) -> None:
        _kept.clear()
        if self._value is not None:
            self._environ[VARIABLE] = self._value


def passphrase() -> str | None:
    """Return the passphrase that the environment held, or holds."""
    return _kept.get(VARIABLE, os.environ.get(VARIABLE))


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a program that needs none of our secrets."""
    return {name: value for name, value in environ.items() if name not in _SECRETS}
