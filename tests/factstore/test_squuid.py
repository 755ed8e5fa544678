"""Squuids begin with their second."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from factstore import DatabaseError, squuid
from factstore.ids import squuid_instant


def test_a_squuid_tells_the_second_it_was_made_in():
    at = datetime(2024, 2, 29, 12, 30, 59, 999999, tzinfo=UTC)
    assert at.replace(microsecond=0) == squuid_instant(squuid(at=at))
    assert 5 > abs(squuid_instant(squuid()).timestamp() - time.time())


def test_later_squuids_are_greater_and_no_two_are_equal():
    at = datetime(2024, 1, 1, tzinfo=UTC)
    made = [squuid(at=at + timedelta(seconds=n)) for n in range(100)]
    assert made == sorted(made)
    assert 1000 == len({squuid(at=at) for _ in range(1000)})


def test_a_squuid_is_a_random_uuid_otherwise():
    made = squuid()
    assert 4 == made.version
    assert "specified in RFC 4122" == made.variant


def test_a_squuid_of_a_time_without_a_zone_is_rejected():
    with pytest.raises(DatabaseError, match="aware datetime"):
        squuid(at=datetime(2024, 1, 1))
