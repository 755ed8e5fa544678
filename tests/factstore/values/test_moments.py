"""Moments and durations in words, and the places that take them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore import DatabaseError, QueryError, TransactError, connect, duration, moment, q
from factstore.testing import FakeClock
from factstore.values.moments import point_in

NOW = datetime(2026, 11, 24, 3, 12, tzinfo=UTC)
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


@given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from(sorted(UNITS))), min_size=1, max_size=5))
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    expected = timedelta(milliseconds=sum(number * UNITS[unit] for number, unit in parts))
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert expected == duration(text) == duration(expected)
    assert NOW - expected == moment(f"-{text}", now=NOW) == moment(-expected, now=NOW)


@given(st.datetimes(timezones=st.timezones()))
def test_the_text_of_an_instant_means_the_instant(at: datetime) -> None:
    instant = at.astimezone(UTC)
    assert instant == moment(instant) == moment(instant.isoformat()) == moment(at.isoformat())


@pytest.mark.parametrize("wrong", ["", "5", "m", "-5m", "5 m", "5x", "1h-", "9" * 200 + "w", timedelta(-1), 5, None, [], "９s" * 60])
def test_other_values_are_no_durations(wrong: Any) -> None:
    with pytest.raises(DatabaseError, match="expected a duration") as caught:
        duration(wrong)
    assert ":db.error/invalid-duration" == caught.value.code


@pytest.mark.parametrize(
    "wrong", ["", "5m", "now", "2026-11-24", "2026-11-24T03:12", datetime(2026, 1, 1), timedelta(1), "-9999999w", None, 1.5]
)
def test_other_values_are_no_moments(wrong: Any) -> None:
    with pytest.raises(DatabaseError, match="expected t, a transaction's id or an aware datetime") as caught:
        moment(wrong, now=NOW)
    assert ":db.error/invalid-point" == caught.value.code


@given(st.integers(0, 10**19 - 1))
def test_a_text_of_digits_is_a_t_and_no_moment(t: int) -> None:
    assert t == point_in(str(t)) == point_in(f"{t:019}")
    with pytest.raises(DatabaseError):
        moment(str(t), now=NOW)


@given(st.one_of(st.text("0123456789٣-+. _", max_size=25), st.text()))
def test_another_text_is_a_point_if_it_is_a_moment(text: str) -> None:
    if not re.fullmatch("[0-9]{1,19}", text):
        with suppress(DatabaseError):
            assert isinstance(point_in(text, now=NOW), datetime)


def test_a_point_in_words_is_a_moment_by_the_clock_of_the_connection() -> None:
    clock = FakeClock(NOW)
    with connect("memory:", clock=clock) as conn:
        for minute in range(4):
            conn.transact([{":db/doc": str(minute), ":db/id": "x"}])
            clock.advance(60)
        db = conn.db()  # transactions at 03:12 … 03:15, and it is 03:16
        assert 2 == db.as_of("2026-11-24T03:13Z").as_of_t == db.as_of("-3m").as_of_t == db.as_of(timedelta(minutes=-3)).as_of_t
        assert (2, 3, [3, 4]) == (db.since("2").since_t, db.as_of("003").as_of_t, [each.t for each in conn.log().tx_range("3")])
        assert NOW + timedelta(minutes=1) == db.as_of("-3m").moment
        assert 2 == db.since("-3m").since_t == db.with_([]).db_after.since("-3m").since_t
        assert [3, 4] == [each.t for each in conn.log().tx_range("-2m")]
        with conn.tx_reports(from_t="-1m") as reports:
            assert 4 == reports.get(timeout="0s").t  # type: ignore[union-attr]
            assert reports.get(timeout=timedelta(0)) is None
        assert 4 == conn.wait("-1h", "0s").basis_t
        with pytest.raises(TransactError, match="changed-since"):
            conn.transact([{":db/id": db.q('[:find ?e . :where [?e :db/doc "3"]]'), ":db/doc": "x"}], if_unchanged_since="-2m")
        clock.advance(60)
        assert 3 == db.as_of("-3m").as_of_t


def test_each_timeout_takes_a_duration(tmp_path: Any) -> None:
    with connect(str(tmp_path / "a.facts"), busy_timeout="5s") as conn:
        assert 0 == conn.sync(timeout="1s").basis_t
        assert (0, []) == conn.peek(timeout=timedelta(0))
        assert {1} == set(q("[:find [?x ...] :in [?x ...]]", [1], timeout="1m"))
        assert 1 == conn.db().q("[:find ?x . :in $ ?x]", 1, timeout=timedelta(minutes=1))
        for wrong in ("soon", timedelta(-1)):
            with pytest.raises(QueryError, match="a duration such as"):
                conn.db().q("[:find ?x . :in $ ?x]", 1, timeout=wrong)


def test_a_duration_is_not_before_a_time_without_a_zone() -> None:
    with pytest.raises(DatabaseError, match="aware datetime"):
        moment("-5m", now=datetime(2024, 1, 1))
