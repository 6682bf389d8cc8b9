"""Secrets in variables: the passphrase is removed from the environment first of all, so that children do not get it.

Programs inherit the environment, including those in a container. So a command takes the passphrase out of it and keeps
it for the one place that needs it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

VARIABLE = "SIFMAKE_PASSPHRASE"
_SECRETS = frozenset({VARIABLE, "SIFMAKE_DOCKER_USERNAME", "SIFMAKE_DOCKER_PASSWORD"})
"""Variables of sifmake that no other program needs; the peers may still read their own."""

_kept: dict[str, str] = {}


class Withheld:
    """A block in which the environment does not have the passphrase; it is restored afterwards."""

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
    """Return the passphrase from the environment, even while it is withheld."""
    return _kept.get(VARIABLE, os.environ.get(VARIABLE))


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without our secrets, for a program that does not need them."""
    return {name: value for name, value in environ.items() if name not in _SECRETS}
