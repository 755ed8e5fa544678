"""The law of transactions in steps: they come to what the steps come to one after another, as one transaction, and to nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from factstore import Database
from tests.laws.test_time_laws import CHANGES, forms, story


def facts(db: Database) -> set[Any]:
    """What a database says, whenever it was said."""
    return {datom[:3] for datom in db.datoms(":eavt") if datom.e >> 42 == 2}


@given(CHANGES, CHANGES)
def test_steps_are_the_difference_they_make(history: Any, steps: Any) -> None:
    with story(history) as stepped, story([*history, *steps]) as one_by_one:
        before = stepped.conn.db()
        with stepped.conn.transaction() as tx:
            for changes in steps:
                tx.transact(forms(changes, stepped.ids))
        after = stepped.conn.db()
        assert facts(one_by_one.db) == facts(after) == facts(tx.db)
        if steps:
            told = [(datom[:3], datom.added) for datom in tx.report.tx_data[1:]]
            assert {(fact, True) for fact in facts(after) - facts(before)} | {
                (fact, False) for fact in facts(before) - facts(after)
            } == set(told)
            assert len(told) == len(set(told))
        stepped.conn._committer.index()
        assert facts(after) == facts(stepped.conn.db())
