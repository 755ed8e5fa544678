"""Laws of dumps: text keeps all of a log, and a replay says the same about entities that have other ids."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given

import factstore
from factstore.dumps import dump, replay, undump
from factstore.storage import open_storage
from tests.laws.test_time_laws import CHANGES, story


def logged(conn: Any) -> list[Any]:
    return [(tx.t, [(*d, type(d.v)) for d in tx.data]) for tx in conn.log().tx_range()]


def by_node(db: factstore.Database) -> set[Any]:
    """Return what is known of the nodes, each said by its number."""
    number = {d.e: d.v for d in db.datoms("aevt", ":n/id")}
    return {
        (number[d.e], str(db.ident(d.a)), number[d.v] if db.attribute(d.a).is_ref else d.v) for e in number for d in db.datoms("eavt", e)
    }


@given(CHANGES)
def test_what_comes_back_from_a_dump_has_the_same_log_and_index(history: Any) -> None:
    with story(history) as told, TemporaryDirectory() as folder:
        path, uri = Path(folder) / "x.edn", f"memory:{os.urandom(8).hex()}"
        dump(told.conn, path)
        with closing(open_storage(uri)) as storage:
            undump(path, storage)
            with factstore.connect(uri) as again:
                assert logged(told.conn) == logged(again)
                assert list(told.conn.db().history().datoms("avet")) == list(again.db().history().datoms("avet"))
                assert told.conn.db().next_n == again.db().next_n


@given(CHANGES)
def test_a_replay_says_the_same_at_every_time(history: Any) -> None:
    with story(history) as told, TemporaryDirectory() as folder, factstore.connect("memory:") as other:
        other.transact("[{:db/ident :other :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]")
        other.transact([{":other": n} for n in range(3)])
        dump(told.conn, Path(folder) / "x.edn")
        start = other.db().basis_t
        done = replay(other, Path(folder) / "x.edn")
        assert told.conn.db().basis_t == done.transactions
        assert 0 == done.left_out
        for t in range(1, told.conn.db().basis_t + 1):
            assert by_node(told.conn.db().as_of(t)) == by_node(other.db().as_of(start + t))


@given(CHANGES)
def test_a_replay_keeps_each_reference_to_an_entity_that_has_a_fact_later(history: Any) -> None:
    with story(history) as told, TemporaryDirectory() as folder, factstore.connect("memory:") as other:
        told.conn.excise(":n/id")  # now some references are older than all facts about their entity
        told.conn.transact([{":db/id": e, ":n/id": n} for n, e in enumerate(told.ids)])
        dump(told.conn, Path(folder) / "x.edn")
        assert 0 == replay(other, Path(folder) / "x.edn").left_out
        assert by_node(told.conn.db()) == by_node(other.db())
