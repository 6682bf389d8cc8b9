"""Dates on which steps that expire were renewed: only locks read a clock, and the key of a step contains its date."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.steps import parse_expiry, post_steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sifmake.definition.model import Definition
    from sifmake.definition.steps import PostStep

_SKEW = 86_400
"""Seconds by which clocks may differ. A later date is that of a wrong clock, and would keep its step from expiring."""


def renew(
    definition: Definition,
    old: Mapping[str, str],
    cache_for: str,
    now: datetime,
    *,
    offline: bool = False,
) -> dict[str, str]:
    """Return the dates for the lock of a definition, by the digest of each step's text.

    A step has a date if it expires. A new one gets today's; a known one keeps its date until that has expired, and then
    gets today's, so that its key changes.

    Args:
        definition: The definition.
        old: The dates in the present lock.
        cache_for: Time after which steps without a marker expire, such as ``7d``; empty if they do not.
        now: The present time.
        offline: Whether expired dates are kept, because the step would fetch something.

    Raises:
        DefinitionError: A marker of a step is in the wrong place.
    """
    dates, usual = {}, parse_expiry(cache_for)
    for step in _steps(definition):
        seconds = step.expires if step.expires is not None else usual
        if seconds is None:
            continue
        digest = text_digest(step.text)
        at = old.get(digest, "")
        known = _parsed(at)
        keeps = known is not None and (offline or -_SKEW < (now - known).total_seconds() < seconds)
        dates[digest] = at if keeps else now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return dates


def text_digest(text: str) -> str:
    """Return the digest by which a lock names a step."""
    return f"sha256:{hashlib.sha256(text.strip().encode('utf-8', 'surrogateescape')).hexdigest()}"


def _steps(definition: Definition) -> Iterator[PostStep]:
    place = DefinitionPlace(definition.source)
    for stage in definition.stages:
        yield from post_steps(stage, place)


def _parsed(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
