"""The law of branches: going on from a point of the past is as if nothing had come since, be it told by the index or by novelty."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from factstore import Database, with_
from factstore.values.types import order_key
from tests.laws.test_time_laws import CHANGES, forms, story

START = 2  # the schema, and the nodes


def told(db: Database) -> tuple[Any, ...]:
    """All that a database says of its nodes, read in several ways; instants are another matter."""
    ids = [db.entid([":n/id", n]) for n in range(4)]
    return (
        ids,
        {datom for datom in db.datoms(":eavt") if datom.a != 18},
        [list(db.datoms(":avet", a)) for a in (":n/size", ":n/word", ":n/pair")],
        [sorted(db.view.values_of(e, db.attribute(a).id), key=order_key) for e in ids for a in (":n/size", ":n/word")],
        [set(db.datoms(":vaet", e)) for e in ids],
        {datom for datom in db.history().datoms(":eavt") if datom.a != 18},
    )


@given(CHANGES, CHANGES, st.integers(0, 8), st.integers(0, 8))
def test_a_branch_is_a_store_to_which_nothing_else_happened(history: Any, own: Any, at: int, indexed: int) -> None:
    at = min(at, len(history))
    with story(history[:indexed]) as lived, story(history[:at]) as alone:
        lived.conn._committer.index()
        for changes in history[indexed:]:
            lived.conn.transact(forms(changes, lived.ids))
        branches = [lived.conn.db().branch(START + at)]
        assert told(alone.db) == told(branches[0])
        for changes in own:
            then = alone.conn.transact(forms(changes, alone.ids)).db_after
            branches.append(with_(branches[-1], forms(changes, lived.ids)).db_after)
            assert then.basis_t == branches[-1].basis_t
            assert told(then) == told(branches[-1])
        middle = START + at + len(own) // 2
        assert told(alone.conn.db().as_of(middle)) == told(branches[-1].as_of(middle)) == told(branches[-1].branch(middle))
