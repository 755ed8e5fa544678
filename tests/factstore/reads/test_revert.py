"""Reverting a transaction: the facts before it, whatever it did; a refusal, if they have changed since."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore.testing import strategies

SCHEMA = [
    {":db/ident": f":a/{name}", ":db/valueType": f":db.type/{kind}", ":db/cardinality": f":db.cardinality/{many}", **rest}
    for name, kind, many, rest in [
        ("key", "string", "one", {":db/unique": ":db.unique/identity"}),
        ("one", "long", "one", {}),
        ("many", "keyword", "many", {}),
        ("ref", "ref", "many", {}),
        ("part", "ref", "one", {":db/isComponent": True}),
    ]
]


def facts(db: factstore.Database) -> set[tuple[object, ...]]:
    """Return the facts of a database without those about transactions."""
    return {datom[:3] for datom in db.datoms("eavt") if datom.tx != datom.e}


def after(history: list[list[object]]) -> list[factstore.Database]:
    """Return the database after the schema, and after each transaction."""
    with factstore.connect("memory:") as conn:
        return [conn.transact(forms).db_after for forms in (SCHEMA, *history)]


@given(strategies.histories(SCHEMA, max_transactions=4))
def test_the_last_transaction_reverted_leaves_the_facts_before_it(history: list[list[object]]) -> None:
    *_, before, last = [None, *after(history)]
    if before is not None:
        forms = factstore.revert(last, last.basis_t)
        assert facts(before) == facts(factstore.with_(last, forms).db_after)


@given(strategies.histories(SCHEMA, max_transactions=4))
def test_each_transaction_is_undone_in_turn_from_the_last_to_the_first(history: list[list[object]]) -> None:
    databases = after(history)
    db = databases[-1]
    for then, before in zip(reversed(databases[1:]), reversed(databases[:-1])):
        try:
            forms = factstore.revert(db, then.basis_t)
        except factstore.TransactError as error:  # the reverting transactions have changed these facts, too
            assert ":db.error/changed-since" == error.code
            return
        db = factstore.with_(db, forms).db_after
        assert facts(before) == facts(db)


@given(strategies.histories(SCHEMA, max_transactions=4), st.data())
def test_a_transaction_is_reverted_if_no_later_one_is_about_its_facts(history: list[list[object]], data: st.DataObject) -> None:
    databases = after(history)
    if len(databases) > 1:
        at = data.draw(st.integers(1, len(databases) - 1))
        t, db = databases[at].basis_t, databases[-1]
        own = {datom[:2] for datom in db.as_of(t).since(t - 1).history().datoms("eavt")}
        later = {datom[:2] for datom in db.since(t).history().datoms("eavt")}
        refs = {datom.v for datom in db.since(t).history().datoms("eavt") if db.ident(datom.a) in (":a/ref", ":a/part")}
        if not own & later and not refs & {e for e, _ in own}:
            undone = facts(factstore.with_(db, factstore.revert(db, t)).db_after)
            others = {fact for fact in facts(db) if fact[:2] not in own}
            assert others | {fact for fact in facts(databases[at - 1]) if fact[:2] in own} == undone


def test_an_entity_that_others_refer_to_now_is_not_taken_away() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        made = conn.transact([{":db/id": "x", ":a/key": "x"}])
        conn.transact([{":a/key": "y", ":a/ref": made.tempids["x"]}])
        with pytest.raises(factstore.TransactError, match="have changed since") as caught:
            factstore.revert(conn.db(), made.t)
        assert 1 == len(caught.value.changed)


def test_values_without_history_and_declarations_cannot_be_reverted() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(
            [{":db/ident": ":a/now", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one", ":db/noHistory": True}]
        )
        conn.transact([{":a/now": 1}])
        for t, part in ((1, "declares or changes the attribute :a/now"), (2, "has no history")):
            with pytest.raises(factstore.TransactError, match=part):
                factstore.revert(conn.db(), t)
