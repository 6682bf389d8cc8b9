"""Parsing of untrusted JSON: depth and memory are bounded, numbers are finite."""

from __future__ import annotations

import json
from typing import Any, NoReturn

_MOST_LEVELS = 100
"""Deepest nesting of objects and lists; documents of images, signatures and SBOMs have a dozen levels."""
_MOST_CONTAINERS = 400_000
"""Most objects and lists in one text: two or three bytes of text may take 200 bytes of memory."""

_MOST_COMMAS = 300_000
"""Most commas in one text, including those in strings: six bytes of text may take 300 bytes of memory."""


class BeyondLimitError(ValueError):
    """The text may be JSON, but it exceeds a limit."""


class NestingError(BeyondLimitError):
    """The text is nested too deeply; whether the rest is valid is not known."""


def parse_json(data: bytes | str, *, levels: int = _MOST_LEVELS, containers: int = _MOST_CONTAINERS) -> Any:
    """Return the value of a JSON text (RFC 8259); a byte order mark is skipped.

    Args:
        data: The text; bytes are UTF-8.
        levels: How deep it may be nested.
        containers: How many objects and lists it may have.

    Raises:
        BeyondLimitError: The text exceeds a limit.
        ValueError: The text is not JSON, or has a number that is not finite.
    """
    text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    found = text.count("[") + text.count("{")
    if found > containers:
        raise BeyondLimitError(f"more than {containers} objects and lists")
    if text.count(",") > _MOST_COMMAS:
        raise BeyondLimitError(f"more than {_MOST_COMMAS} values")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep(levels) from None
    if found > levels:
        _check_depth(value, levels)
    return value


def without_surrogates(text: str) -> str:
    """Return a text that can be encoded: its bytes that are not UTF-8 (``surrogateescape``) are written as escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _check_depth(value: Any, levels: int) -> None:
    """Refuse nesting that the parser could just handle, because walking or writing the value needs more stack."""
    level = [value]
    for _ in range(levels + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return
        level = [part for item in containers for part in (item.values() if isinstance(item, dict) else item)]
    raise _too_deep(levels)


def _too_deep(levels: int) -> NestingError:
    return NestingError(f"nested too deeply: more than {levels} levels")


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"the number {text[:20]} is too large")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)
