"""JSON that anyone may have written: bounded in depth and in what it costs in memory, numbers finite."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from sifmake.limits import DEFAULT_LIMITS, Limits


class BeyondLimitError(ValueError):
    """The text may be JSON, but it has more than is read."""


def parse_json(data: bytes | str, limits: Limits = DEFAULT_LIMITS) -> Any:
    """Return the value of a JSON text (RFC 8259); a byte order mark is left out.

    Args:
        data: The text; bytes are UTF-8.
        limits: ``json_depth`` and ``json_containers`` are used.

    Raises:
        BeyondLimitError: It has more than is read.
        ValueError: It is not JSON, or has a number that is not finite.
    """
    text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    containers = text.count("[") + text.count("{")
    if containers > limits.json_containers:
        raise BeyondLimitError(f"more than {limits.json_containers} objects and lists")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep(limits) from None
    if containers > limits.json_depth:
        _check_depth(value, limits)
    return value


def _check_depth(value: Any, limits: Limits) -> None:
    """Refuse what could be parsed just so: whoever walks through it or writes it again has less of a stack."""
    level = [value]
    for _ in range(limits.json_depth + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return
        level = [part for item in containers for part in (item.values() if isinstance(item, dict) else item)]
    raise _too_deep(limits)


def _too_deep(limits: Limits) -> BeyondLimitError:
    return BeyondLimitError(f"nested too deeply: more than {limits.json_depth} levels")


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"the number {text[:20]} is too large")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)
