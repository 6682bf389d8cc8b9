"""Row a4: ``Retry-After`` in both forms of RFC 9110, and pauses that grow."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sifmake.registry import RetryPolicy
from sifmake.registry.retry import pause_before, retry_after

NOW = datetime(2026, 11, 25, 1, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("Wed, 25 Nov 2026 01:03:03 GMT", 60),
        ("Wed, 25 Nov 2026 01:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 30, None),
        ("٣", None),
    ],
)
def test_retry_after(header, seconds):
    assert retry_after(header, NOW) == seconds


def test_pauses_double_up_to_a_bound_and_never_agree():
    policy = RetryPolicy(base=1, longest_pause=10)
    for attempt, longest in ((2, 1), (3, 2), (4, 4), (5, 8), (6, 10), (60, 10)):
        pauses = {pause_before(attempt, policy) for _ in range(20)}
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest
        assert len(pauses) > 1
