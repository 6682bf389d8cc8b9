"""How long to wait before a request is made again."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sifmake.registry.settings import RetryPolicy

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be temporary."""

RETRIED_HEAD = frozenset({429})
"""The same for a HEAD; others may concern HEAD only, and the GET that follows is repeated anyway."""


def pause_before(attempt: int, policy: RetryPolicy) -> float:
    """Return the seconds to wait before an attempt (the first retry is number 2): exponential, with jitter.

    Jitter spreads the requests of cluster nodes that all failed at the same time.
    """
    longest = min(policy.longest_pause, policy.base * 2.0 ** (attempt - 2))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


def retry_after(header: str, now: datetime | None = None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110, section 10.2.3); None if it is invalid."""
    header = header.strip()
    if header.isascii() and header.isdigit() and len(header) < 10:
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
