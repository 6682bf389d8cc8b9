"""Names of images: what doit, Snakemake and file systems all take."""

from __future__ import annotations

import re

from sifmake.errors import ConfigError

PATTERN = "[a-z0-9][a-z0-9._-]*"
"""doit breaks on ``=``, shells and paths on the rest."""
_LONGEST = 120

_NAME = re.compile(PATTERN)


def check_name(name: str, where: str) -> None:
    """Refuse a name that some tool would stumble over.

    Raises:
        ConfigError: With a name that would do.
    """
    if _NAME.fullmatch(name) and len(name) <= _LONGEST:
        return
    what = f"the name {name!r} does not match {PATTERN}" if len(name) <= _LONGEST else f"the name {name!r} is too long"
    raise ConfigError(what, where=where, hint=f"try {_suggest(name)!r}")


def _suggest(name: str) -> str:
    """Return the nearest name that is allowed."""
    cleaned = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")
    return cleaned[:_LONGEST] or "image"
