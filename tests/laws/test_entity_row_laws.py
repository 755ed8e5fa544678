"""The law of the rows of entities: whatever was read before, and however little room they have, a read gives what it gives without them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import entity, pull, pull_many, with_
from factstore.errors import TransactError
from factstore.index import entity_rows
from factstore.index.entity_rows import NOT_KEPT, EntityRows
from tests.laws.test_time_laws import CHANGE, NODE, NODES, Story, forms

PATTERNS = [
    "[:n/id :n/size :n/flag]",
    [":n/size"],
    "[*]",
    "[:db/id :n/size [:n/pals :limit 2] {:n/next [:n/size :n/flag]}]",
    "[:n/* {:n/_next [:n/id]}]",
    "[:n/size {:n/next 2}]",
]
ATTRIBUTES = [":n/id", ":n/size", ":n/flag", ":n/word", ":n/pair", ":n/next", ":n/pals"]
AMPLE = 256 << 20
ROOMS = [0, 8 * 16 * 700, 8 * 20_000, AMPLE]  # bytes of the cache
LATER = [  # what may become of the schema
    [{":db/id": ":n/size", ":db/ident": ":n/height"}, {":db/id": ":n/height", ":db/ident": ":n/size"}],
    [[":db/add", ":n/flag", ":db/doc", "a flag"]],
    [[":db/add", ":n/word", ":db/cardinality", ":db.cardinality/one"]],  # refused while an entity has many
    [[":db/add", ":n/size", ":db/cardinality", ":db.cardinality/many"]],
    [{":db/ident": ":n/more", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}],
]
CHANGED = st.tuples(st.just("change"), st.lists(CHANGE, min_size=1, max_size=4, unique_by=lambda change: change[:2]))
STEPS = st.lists(
    CHANGED
    | st.tuples(st.just("read"), st.tuples(st.integers(0, 9), st.integers(0, 30), NODE))
    | st.tuples(st.sampled_from(["index", "reopen", "excise", "load", "gone"]), NODE)
    | st.tuples(st.just("name"), st.tuples(NODE, st.integers(0, NODES)))
    | st.tuples(st.just("schema"), st.sampled_from(LATER)),
    max_size=14,
)


def of_time(db: Any, t: int, ids: list[int], node: int) -> list[Any]:
    """A database, and others of the same facts."""
    changed = with_(db, [[":db/add", ids[node], ":n/size", 77]]).db_after
    return [
        db,
        db.as_of(t),
        db.since(t),
        db.as_of(t).since(t // 2),
        db.branch(t),
        db.filter(lambda _, datom: datom.v != 1),
        changed,
        changed.as_of(t),
    ]


def told(db: Any, ids: list[int], pattern: Any) -> list[Any]:
    """What a database says of its nodes."""
    words = [{a: e.get(a) for a in ATTRIBUTES} for e in (entity(db, each) for each in ids) if e is not None]
    return [
        [pull(db, pattern, e) for e in ids],
        pull_many(db, pattern, ids * 9),
        [{a: frozenset(map(repr, v)) if isinstance(v, frozenset) else repr(v) for a, v in word.items()} for word in words],
        [sorted(map(str, each)) for each in (entity(db, e) or () for e in ids)],
        [db.entid([":n/id", n]) for n in range(NODES + 1)],
        [factstore.q("[:find ?e ?s :in $ ?n :where [?e :n/id ?n] [?e :n/size ?s]]", db, n) for n in range(NODES + 1)],
        [list(db.datoms("eavt", e, a)) for e in ids for a in ATTRIBUTES[1:4]],
        [list(db.history().datoms("eavt", e, a)) for e in ids for a in ATTRIBUTES[1:4]],
    ]


def check(db: Any, t: int, ids: list[int], node: int, pattern: Any) -> None:
    for each in of_time(db, min(t, db.basis_t), ids, node):
        with_rows = [told(each, ids, pattern) for _ in range(3)]
        with patch.object(EntityRows, "row", lambda *_: NOT_KEPT), patch.object(EntityRows, "holder", lambda *_: None):
            assert [told(each, ids, pattern)] * 3 == with_rows


def load(conn: Any, node: int) -> int:
    """A new entity of a bulk load."""
    conn.load({"size": [node]}, {"size": ":n/size"}, progress=False)
    return max(datom.e for datom in conn.db().datoms("avet", ":n/size", node))


@given(STEPS, st.sampled_from(ROOMS))
def test_a_read_gives_the_same_with_rows_and_without(steps: Any, room: int) -> None:
    with factstore.connect("memory:", cache_bytes=room) as conn:
        world = Story(conn, [])
        ids, dbs = list(world.ids), [conn.db()]
        for step, what in steps:
            if step in ("change", "schema"):
                with suppress(TransactError):  # of an attribute that no longer takes many values, or that has many
                    conn.transact(forms(what, ids) if step == "change" else what)
            elif step == "name":
                with suppress(TransactError):  # of a number that another one has
                    conn.transact([[":db/add", ids[what[0]], ":n/id", what[1]]])
            elif step == "index":
                conn._committer.index()
            elif step == "load":
                ids.append(load(conn, what))
            elif step == "gone":
                conn.transact([[":db/retractEntity", ids[what]]])
            elif step == "excise":
                conn.excise(ids[what])
                dbs = []
            elif step == "reopen":
                with conn._committer._turn:
                    conn._committer._reopen()
            else:
                which, t, node = what
                check(dbs[-1 - which % len(dbs)], t, ids, node, PATTERNS[(t + node) % len(PATTERNS)])
            dbs.append(conn.db())
        for db in (dbs[0], dbs[-1], dbs[len(dbs) // 2]):
            check(db, db.basis_t - 1, ids, 0, PATTERNS[len(steps) % len(PATTERNS)])


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 4), st.text(max_size=300), st.integers(0, 3)), max_size=300))
@pytest.mark.parametrize("room", [0, 10_000, 100_000])
def test_rows_keep_their_bound(room: int, reads: Any) -> None:
    log = Log()
    rows = EntityRows(0, log, room)
    for e, a, text, later in reads:
        if later == 3:
            log.commit([(n, a, text, len(log.entries) + 1, True) for n in range(e)])
        for _ in range(2):
            row = rows.row(e, (log, len(log.entries)), max(0, len(log.entries) - later))
            row.read(Source((text, 5)), e, a)
            if rows.holder(a, text, log, len(log.entries)) is None:
                rows.keep_holder(a, text, e, len(log.entries))
            assert rows.nbytes <= room


class Log:
    """As much of a novelty as rows need."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    @property
    def newest_t(self) -> int:
        return len(self.entries)

    def commit(self, facts: Any) -> None:
        self.entries.append((len(self.entries) + 1, facts, None))

    def between(self, after: int, upto: int) -> Any:
        return self.entries[after:upto]


class Source:
    """A view in which every entity has the same values."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def values_of(self, _e: int, _a: int) -> Any:
        return self.values


def test_an_entity_that_is_read_again_has_a_row_that_survives_commits_that_do_not_change_it() -> None:
    with factstore.connect("memory:") as conn:
        world = Story(conn, [])
        first, second = world.ids[:2]
        for _ in range(3):
            pull(conn.db(), "[:n/id]", first)
        row = conn.db().view.row_of(first)
        assert (0,) in row.values()
        conn.transact([[":db/add", second, ":n/size", 1]])
        assert conn.db().view.row_of(first) is row
        before = conn.db()
        conn.transact([[":db/add", first, ":n/size", 1]])
        assert before.view.row_of(first) is row
        assert conn.db().view.row_of(first) is not row
        assert (1,) not in before.view.row_of(first).values()


def test_a_database_of_a_transaction_that_lost_its_race_leaves_nothing_behind() -> None:
    log = Log()
    log.commit([])
    rows = EntityRows(0, log, 1 << 20)
    for _ in range(3):
        assert rows.row(7, (log, 2), 2) is NOT_KEPT
        rows.row(7, (log, 1), 1).read(Source((1,)), 7, 5)
    log.commit([(7, 5, 2, 2, True)])
    assert {5: (1,)} == rows.row(7, (log, 1), 1)
    assert {} == rows.row(7, (log, 2), 2)


def test_a_value_that_is_large_is_not_kept() -> None:
    assert entity_rows.size_of(("x" * 1000, (1, "y" * 500))) > 1500
    row = EntityRows(0, Log(), 100_000)
    for _ in range(2):
        kept = row.row(1, (Log(), 0), 0)
    kept.read(Source(("x" * 10_000,)), 1, 5)
    assert 5 not in kept
