"""How blocks can be compressed, by name; in a module of its own because comparing settings needs no compressor.

A compression is written ``NAME`` or ``NAME:LEVEL``. Locks, keys and records have the full name, so that another default
level of a later version changes no lock.
"""

from __future__ import annotations

from typing import Literal

from sifmake.errors import UsageError

Compression = Literal["gzip", "fast", "zstd"]

DEFAULT_COMPRESSION = "gzip"
RUN_COMPRESSION = "fast:2"
"""For images that are made to be run at once."""

_LEVELS: dict[Compression, tuple[int, int, int]] = {"gzip": (6, 1, 12), "fast": (3, 1, 3), "zstd": (6, 1, 22)}
"""Default, lowest and highest level of libdeflate, ISA-L and zstd; see docs/adr/0032-compression-and-levels.md.

Locks of before 0.3 name no level and mean level 6.
"""

COMPRESSIONS = tuple(_LEVELS)


def split_compression(text: str) -> tuple[Compression, int]:
    """Return name and level of a compression.

    Raises:
        UsageError: The name is unknown, or the level is not one of it.
    """
    name, colon, level = text.partition(":")
    if name not in _LEVELS:
        raise UsageError(f"unknown compression {text!r}", hint=f"use one of: {', '.join(_LEVELS)}")
    default, lowest, highest = _LEVELS[name]
    if not colon:
        return name, default
    if not (level.isascii() and level.isdigit() and len(level) < 3 and lowest <= int(level) <= highest):
        raise UsageError(
            f"unknown level in compression {text!r}", hint=f"use a level from {name}:{lowest} to {name}:{highest}"
        )
    return name, int(level)


def is_compression(text: str) -> bool:
    """Tell whether a text is the name of a compression, with or without a level."""
    try:
        split_compression(text)
    except UsageError:
        return False
    return True


def full_compression(text: str) -> str:
    """Return a compression with its level.

    Raises:
        UsageError: See :func:`split_compression`.
    """
    name, level = split_compression(text)
    return f"{name}:{level}"


def block_format(text: str) -> Literal["gzip", "zstd"]:
    """Return the name by which squashfs knows the blocks of a compression: ``gzip`` or ``zstd``."""
    return "zstd" if text.partition(":")[0] == "zstd" else "gzip"


def has_fixed_bytes(text: str) -> bool:
    """Tell whether the same version of the compressor gives the same bytes on all processors, as ISA-L does not."""
    return text.partition(":")[0] != "fast"
