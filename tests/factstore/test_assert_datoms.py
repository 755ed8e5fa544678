"""The check of datoms that tests of transactions use fails when it should."""

from __future__ import annotations

import pytest

from tests.factstore.tx import ANN, assert_datoms, people


def report():
    return people().transact([[":db/add", ANN, ":u/age", 31]])


@pytest.mark.parametrize(
    "expected",
    [
        "[[?ann :u/age 31 ?tx true] [?ann :u/age 30 ?tx false]]",
        "[[_ _ 30 _ false] [_ _ 31 _ true]]",
        "[[?e _ ?old ?t false] [?e _ ?new ?t true]]",
    ],
)
def test_datoms_fit_in_any_order_and_through_holes(expected):
    assert_datoms(report(), expected)


@pytest.mark.parametrize(
    "expected",
    [
        "[]",
        "[[?ann :u/age 31 ?tx true]]",
        "[[?ann :u/age 31 ?tx true] [?ann :u/age 31 ?tx true]]",
        "[[?ann :u/age 31 ?tx false] [?ann :u/age 30 ?tx true]]",
        "[[?ann :u/age 31 ?tx true] [?ben :u/age 30 ?tx false]]",
        "[[?ann :u/age ?x ?tx true] [?ann :u/age ?x ?tx false]]",
        "[[?ann :u/name 31 ?tx true] [?ann :u/age 30 ?tx false]]",
    ],
)
def test_datoms_that_do_not_fit_fail_the_check(expected):
    with pytest.raises(AssertionError):
        assert_datoms(report(), expected)
