"""Names of images: the characters that doit, Snakemake and file systems all accept."""

from __future__ import annotations

import re

from sifmake.errors import ConfigError

PATTERN = "[a-z0-9][a-z0-9._-]*"
"""doit does not accept ``=``; shells and paths have problems with the rest."""
_LONGEST = 120
_OF_STEPS = ".steps"

_NAME = re.compile(PATTERN)


def check_name(name: str, where: str) -> None:
    """Refuse a name that would cause problems in some tool.

    Raises:
        ConfigError: The name is not valid; the hint suggests one that is.
    """
    if name.endswith(_OF_STEPS):
        what = f"the name {name!r} ends in {_OF_STEPS!r}, like the locks of what steps gave (NAME.steps.yaml)"
        raise ConfigError(what, where=where, hint=f"try {name.replace('.', '-')!r}")
    if _NAME.fullmatch(name) and len(name) <= _LONGEST:
        return
    what = f"the name {name!r} does not match {PATTERN}" if len(name) <= _LONGEST else f"the name {name!r} is too long"
    raise ConfigError(what, where=where, hint=f"try {_suggest(name)!r}")


def _suggest(name: str) -> str:
    """Return a similar name that is allowed."""
    cleaned = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")
    return cleaned[:_LONGEST] or "image"
