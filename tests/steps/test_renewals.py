"""Dates of steps that expire: new ones, kept ones, and those that are over."""

from datetime import UTC, datetime, timedelta

import pytest

from sifmake.definition import read_definition
from sifmake.errors import DefinitionError
from sifmake.steps.renewals import renew, text_digest

NOW = datetime(2026, 11, 30, 18, 0, tzinfo=UTC)
DATE = "2026-11-30T18:00:00Z"
WEEKLY = "# sifmake: expires 7d\n"
FETCH, INSTALL = "fetch\n", "install\n"


def definition(post):
    return read_definition(f"Bootstrap: oci\nFrom: base\n%post\n{post}".encode(), "tool.def")


def dates(post, old=None, cache_for="", *, days=0, offline=False):
    known = {text_digest(text): date for text, date in (old or {}).items()}
    return renew(definition(post), known, cache_for, NOW + timedelta(days=days), offline=offline)


def test_only_steps_that_expire_have_a_date():
    post = f"{WEEKLY}{FETCH}# sifmake: step\n{INSTALL}"
    assert dates(post) == {text_digest(FETCH): DATE}
    assert dates(f"{FETCH}# sifmake: step\n{INSTALL}") == {}


def test_a_setting_makes_all_steps_expire_but_a_marker_counts_more():
    post = f"{WEEKLY}{FETCH}# sifmake: step\n{INSTALL}"
    old = {FETCH: DATE, INSTALL: DATE}
    assert dates(post, old, "1h", days=1) == {text_digest(FETCH): DATE, text_digest(INSTALL): "2026-12-01T18:00:00Z"}


@pytest.mark.parametrize(("days", "date"), [(0, DATE), (6, DATE), (7, "2026-12-07T18:00:00Z")])
def test_a_date_stays_until_it_expires(days, date):
    assert dates(WEEKLY + FETCH, {FETCH: DATE}, days=days) == {text_digest(FETCH): date}


def test_nothing_expires_offline():
    assert dates(WEEKLY + FETCH, {FETCH: DATE}, days=70, offline=True) == {text_digest(FETCH): DATE}


def test_a_changed_step_gets_a_new_date_and_the_old_one_goes():
    assert dates(WEEKLY + INSTALL, {FETCH: DATE}, days=1) == {text_digest(INSTALL): "2026-12-01T18:00:00Z"}


@pytest.mark.parametrize(
    "date", ["2027-11-30T18:00:00Z", "yesterday", "", "2026-11-30", "9999-12-31T23:59:59Z", "9" * 5000]
)
def test_a_date_that_cannot_be_right_is_replaced(date):
    assert dates(WEEKLY + FETCH, {FETCH: date}) == {text_digest(FETCH): DATE}


def test_the_longest_time_does_not_overflow():
    assert dates("# sifmake: expires 999999w\n" + FETCH, {FETCH: DATE}, days=7000) == {text_digest(FETCH): DATE}


def test_the_digest_of_a_text_ignores_blank_lines_around_it():
    assert text_digest("a\n\n") == text_digest("\na\n") != text_digest("b\n")
    text_digest("\udcff")


def test_a_marker_in_the_wrong_place_is_an_error():
    with pytest.raises(DefinitionError):
        dates(f"if x; then\n{WEEKLY}fi\n")
