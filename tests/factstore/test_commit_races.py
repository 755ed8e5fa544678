"""Transactions of several connections on one store: each is judged on top of the newest database, whatever its connection knew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import factstore
from factstore import CasFailed, Connection, TransactError

NUMBER = [{":db/ident": ":a/n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]
TEXT = [{":db/ident": ":a/s", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}]


@pytest.fixture
def two() -> Iterator[tuple[Connection, Connection]]:
    """Two connections, of which the second knows nothing of what the first commits from now on."""
    with factstore.connect("memory:races") as first, factstore.connect("memory:races") as second:
        first.transact(NUMBER)
        first.transact([{":db/ident": ":the/entity", ":a/n": 0}])
        second.db()
        yield first, second


@pytest.mark.parametrize("commit", ["transact", "transact_async"])
def test_what_is_wrong_only_on_top_of_an_older_database_is_accepted(two: tuple[Connection, Connection], commit: str) -> None:
    first, second = two
    first.transact(TEXT)
    first.transact([[":db/cas", ":the/entity", ":a/n", 0, 1]])
    found = getattr(second, commit)([[":db/cas", ":the/entity", ":a/n", 1, 2], {":a/s": "declared by the first"}])
    report = found if commit == "transact" else found.result(10)
    assert 2 == factstore.q("[:find ?n . :where [:the/entity :a/n ?n]]", report.db_after)


@pytest.mark.parametrize("commit", ["transact", "transact_async"])
def test_what_is_wrong_on_top_of_the_newest_database_is_rejected(two: tuple[Connection, Connection], commit: str) -> None:
    first, second = two
    first.transact([[":db/cas", ":the/entity", ":a/n", 0, 1]])
    with pytest.raises(CasFailed) as caught:
        found = getattr(second, commit)([[":db/cas", ":the/entity", ":a/n", 0, 2]])
        if commit == "transact_async":
            found.result(10)
    assert (0, 1) == (caught.value.expected, caught.value.found)


def test_a_rejection_does_not_hold_up_others_of_the_same_write(two: tuple[Connection, Connection]) -> None:
    first, second = two
    first.transact(TEXT)
    good, bad, late = (second.transact_async(forms) for forms in ([{":a/s": "one"}], [{":a/unknown": 1}], [{":a/s": "two"}]))
    assert good.result(10).t < late.result(10).t
    with pytest.raises(TransactError, match=":a/unknown"):
        bad.result(10)


def test_a_report_gives_the_datoms_of_some_attributes_without_the_others(two: tuple[Connection, Connection]) -> None:
    report = two[0].transact([{":a/n": 7}, [":db/add", ":the/entity", ":a/n", 5], {":db/ident": ":another/entity"}])
    expected = [datom for datom in report.tx_data if datom.a == report.db_after.entid(":a/n")]
    assert {(5, True), (0, False), (7, True)} == {(datom.v, datom.added) for datom in expected}
    assert expected == report.datoms_of(":a/n")
    assert [] == report.datoms_of()
