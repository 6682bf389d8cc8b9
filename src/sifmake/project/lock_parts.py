"""Parts of a lock file, checked: anyone can write one, and its checksum has no key."""

from __future__ import annotations

import re
from typing import Any

from sifmake.block_compression import is_compression

_LARGEST_SIZE = 1 << 62
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def text_of(document: dict[str, Any], key: str) -> str:
    """Return a text; ValueError if it is none, KeyError if it is missing."""
    if isinstance(document[key], str):
        return str(document[key])
    raise ValueError(f"{key!r} is not text")


def digest_of(value: Any) -> str:
    """Return a digest; ValueError if it is none."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"{str(value)[:80]!r} is not a digest")
    return value


def size_of(value: Any) -> int:
    """Return a number of bytes; ValueError if it is none."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_SIZE:
        raise ValueError(f"{str(value)[:40]!r} is not a valid size")
    return value


def compression_of(build: dict[str, Any]) -> str:
    """Return a compression; ValueError if it is unknown."""
    value = text_of(build, "compression")
    if not is_compression(value):
        raise ValueError(f"{value[:40]!r} is not a compression")
    return value


def texts_of(document: dict[str, Any], key: str) -> dict[str, str]:
    """Return a mapping of texts; ValueError if something else is in it."""
    values: dict[Any, Any] = document[key]
    if not all(isinstance(value, str) for value in [*values.keys(), *values.values()]):
        raise ValueError(f"{key!r} has a value that is not text")
    return values


def formats_of(build: dict[str, Any]) -> dict[str, int | str]:
    """Return the format numbers; ValueError if something else is in them."""
    values: dict[Any, Any] = build["formats"]
    if not all(isinstance(name, str) and isinstance(value, int | str) for name, value in values.items()):
        raise ValueError("'formats' has something that is neither a number nor text")
    return values
