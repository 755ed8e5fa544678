"""The life of an entity as a table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import EntityEvent, entity_history
from tests.factstore.tx import ANN, BEN, people
from tests.laws.test_time_laws import CHANGES, story

AUDIT = "[{:db/ident :audit/who :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]"


def told() -> factstore.Connection:
    conn = people()
    conn.transact(AUDIT)
    conn.transact([[":db/add", ANN, ":u/age", 31], {":db/id": "datomic.tx", ":audit/who": "<Birthday> & co"}])
    return conn


def test_a_change_is_told_with_when_and_why_what_went_before_what_came() -> None:
    db = told().db()
    gone, come = entity_history(db, ANN)[-2:]
    assert (":u/age", False, 30) == gone[3:]
    assert (":u/age", True, 31) == come[3:]
    assert db.basis_t == come.t
    assert db.instant_of(db.basis_t) == come.when
    assert {":audit/who": "<Birthday> & co"} == come.why == gone.why


def test_a_transaction_that_says_nothing_of_itself_gives_no_reason() -> None:
    assert {} == entity_history(told().db(), BEN)[0].why


def test_an_earlier_database_tells_less() -> None:
    db = told().db()
    assert 30 == next(event.value for event in entity_history(db.as_of(2), ANN) if event.attribute == ":u/age")
    assert [":u/age"] * 2 == [event.attribute for event in entity_history(db.since(db.basis_t - 1), db.entid(ANN))]


def test_a_name_that_names_nothing_has_no_life() -> None:
    assert [] == list(entity_history(told().db(), [":u/login", "nobody"]))


def test_a_reference_to_what_has_a_name_shows_the_name() -> None:
    events = entity_history(told().db(), ":u/age")
    assert ":db.type/long" in [event.value for event in events if event.attribute == ":db/valueType"]


def test_what_a_store_begins_with_was_never_transacted() -> None:
    first = entity_history(told().db(), ":db/doc")[0]
    assert first.when is None
    assert 0 == first.t


@given(CHANGES, st.booleans())
def test_the_events_are_the_history_of_the_entity_in_order_of_time(history: Any, indexed: bool) -> None:
    with story(history) as lived:
        if indexed:
            lived.conn._committer.index()
        db = lived.conn.db()
        for e in lived.ids:
            events = entity_history(db, e)
            mine = sorted((t, a, added) for eid, a, _, t, added in lived.log if eid == e)
            assert mine == sorted((event.t, str(event.attribute), event.added) for event in events)
            assert [event.t for event in events] == sorted(event.t for event in events)


def test_as_text_it_is_a_table_with_one_line_an_event() -> None:
    event = EntityEvent(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), 7, {}, factstore.Keyword(":a"), True, "two\nlines")
    text = str(factstore.EntityHistory(1, (event, event._replace(added=False, value="x" * 100))))
    assert [
        "when                 t  why     attribute  value",
        "2026-01-02 03:04:05  7       +  :a         two lines",
        f"2026-01-02 03:04:05  7       -  :a         {'x' * 59}…",
    ] == text.splitlines()


def test_in_a_notebook_nothing_of_a_value_is_taken_for_markup() -> None:
    html = entity_history(told().db(), ANN)._repr_html_()
    assert "&lt;Birthday&gt; &amp; co" in html
    assert "<Birthday>" not in html
