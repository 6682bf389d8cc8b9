"""The location of the store according to the environment."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE = "SIFMAKE_CACHE"
_PEERS_VARIABLES = ("APPTAINER_CACHEDIR", "SINGULARITY_CACHEDIR")
_READ_ONLY_VARIABLE = "SIFMAKE_READONLY_CACHE"
HINT = f"set {_VARIABLE} to a folder that you can write to"


def find_root(environ: Mapping[str, str]) -> Path:
    """Return the user's store: ``$SIFMAKE_CACHE``, ``$XDG_CACHE_HOME/sifmake`` or ``~/.cache/sifmake``.

    If the user has set another folder for the cache of Apptainer or SingularityCE, for example because the home
    directory is small, the store is there too, beside their files. A relative ``XDG_CACHE_HOME`` is ignored (XDG base
    directory specification 0.8).

    Raises:
        StoreError: There is no home directory for it.
    """
    if chosen := environ.get(_VARIABLE):
        return Path(chosen).absolute()
    if peers := next((environ[name] for name in _PEERS_VARIABLES if environ.get(name)), ""):
        return Path(peers).absolute() / "sifmake"
    cache = Path(environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else _find_home(environ) / ".cache") / "sifmake"


def find_read_only(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the read-only stores that ``$SIFMAKE_READONLY_CACHE`` lists, separated by colons."""
    return tuple(Path(part).absolute() for part in environ.get(_READ_ONLY_VARIABLE, "").split(os.pathsep) if part)


def _find_home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    if not home:
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = ""
    if not Path(home).is_absolute():
        raise StoreError("there is no home directory for the store", hint=HINT)
    return Path(home)
