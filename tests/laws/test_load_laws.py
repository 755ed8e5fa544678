"""Laws of bulk loading: whatever was loaded, transacted and indexed, every time reads as the log says, and check finds nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Connection, maintain
from factstore.columns import block
from factstore.values.types import order_key

ONE, MANY = ":db.cardinality/one", ":db.cardinality/many"
SCHEMA = [
    {":db/ident": ":l/id", ":db/valueType": ":db.type/string", ":db/cardinality": ONE, ":db/unique": ":db.unique/identity"},
    {":db/ident": ":l/n", ":db/valueType": ":db.type/long", ":db/cardinality": ONE, ":db/index": True},
    {":db/ident": ":l/ok", ":db/valueType": ":db.type/boolean", ":db/cardinality": ONE},
    {":db/ident": ":l/word", ":db/valueType": ":db.type/string", ":db/cardinality": MANY, ":db/index": True},
    {":db/ident": ":l/x", ":db/valueType": ":db.type/double", ":db/cardinality": ONE},
    {":db/ident": ":l/ref", ":db/valueType": ":db.type/ref", ":db/cardinality": ONE},
    {":db/ident": ":l/brief", ":db/valueType": ":db.type/bigint", ":db/cardinality": ONE},
]
NAMES = [str(entry[":db/ident"]) for entry in SCHEMA]
IDS = st.sampled_from(["a", "b", "c", "", "ä", "d\0", "d"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    ":l/id": IDS,
    ":l/n": st.integers(-2, 2),
    ":l/ok": st.booleans(),
    ":l/word": st.sampled_from(["", "a", "a\0", "ü", "z" * 70]),
    ":l/x": st.sampled_from([0.0, 1.5, float("inf")]),
    ":l/brief": st.sampled_from([0, 1 << 70, -(1 << 70)]),
}
ROW = st.fixed_dictionaries({name: (st.none() | values) for name, values in VALUES.items()})
LOAD = st.lists(ROW, min_size=1, max_size=4, unique_by=lambda row: row[":l/id"]).map(lambda rows: ("load", rows))
TRANSACT = st.lists(
    st.sampled_from([name for name in VALUES if name != ":l/id"]).flatmap(
        lambda name: st.tuples(st.sampled_from([":db/add", ":db/retract"]), st.integers(0, 9), st.just(name), VALUES[name])
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda form: form[1:3],
).map(lambda forms: ("transact", forms))
ONES = LOAD.map(lambda step: ("load ones", step[1]))  # without the attribute of many values rows of known entities go by column
REMOVE = st.integers(0, 9).map(lambda n: ("remove", n))
STEPS = st.lists(st.one_of(LOAD, ONES, ONES, TRANSACT, TRANSACT, REMOVE, st.just(("index", None))), min_size=2, max_size=9)


def entities(conn: Connection) -> list[int]:
    return sorted({datom.e for name in NAMES for datom in conn.db().history().datoms("aevt", name)})


def do(conn: Connection, what: str, argument: Any) -> None:
    known = entities(conn)
    if what == "load":
        conn.load(argument, {name: name for name in VALUES})
    elif what == "load ones":
        conn.load(argument, {name: name for name in VALUES if name != ":l/word"})
    elif what == "index":
        conn._committer.index()
    elif known and what == "remove":
        conn.transact([[":db/retractEntity", known[argument % len(known)]]])
    elif known:
        forms = {(known[e % len(known)], a): [op, known[e % len(known)], a, v] for op, e, a, v in argument}
        conn.transact(list(forms.values()))


def events(conn: Connection) -> list[Any]:
    db = conn.db()
    return [(d.e, str(db.ident(d.a)), d.v, tx.t, d.added) for tx in conn.log().tx_range() for d in tx.data if str(db.ident(d.a)) in NAMES]


def expected(log: list[Any], upto: int, after: int, history: bool) -> set[Any]:
    seen = [fact for fact in log if fact[3] <= upto]
    live = {}
    for fact in seen:
        live.pop(fact[:3], None)
        if fact[4]:
            live[fact[:3]] = fact
    return {fact for fact in (seen if history else live.values()) if fact[3] > after}


def read(db: Any, index: str, *components: Any) -> list[Any]:
    found = [(d.e, str(db.ident(d.a)), d.v, d.tx & 0xFFFF, d.added) for d in db.datoms(index, *components)]
    return [fact for fact in found if fact[1] in NAMES]


@pytest.fixture(autouse=True, params=[3, 4096])
def rows_in_a_block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block.split, "__defaults__", (request.param,))


@given(STEPS, st.data())
@settings(max_examples=80)
def test_every_time_reads_as_the_log_says(steps: Any, data: Any) -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        held = []
        for what, argument in steps:
            do(conn, what, argument)
            held.append(conn.db())
        log = events(conn)
        for db in (*held, held[-1].as_of(data.draw(st.integers(0, held[-1].basis_t)))):
            upto = db.basis_t if db.as_of_t is None else db.as_of_t
            after = data.draw(st.integers(-1, upto))
            for history in (False, True):
                view = db if after < 0 else db.since(after)
                view = view.history() if history else view
                wanted = expected(log, upto, after, history)
                for index in ("eavt", "aevt"):
                    found = read(view, index)
                    assert len(wanted) == len(found)
                    assert wanted == set(found)
                for name in (":l/id", ":l/n", ":l/word"):
                    ordered = [fact[2] for fact in read(view, "avet", name)]
                    assert sorted((fact[2] for fact in wanted if fact[1] == name), key=order_key) == ordered
                for e, name, v, _, _ in sorted(wanted, key=repr)[:6]:
                    assert {f for f in wanted if f[:2] == (e, name)} == set(read(view, "eavt", e, name))
                    assert {f for f in wanted if f[0] == e} == set(read(view, "eavt", e))
                    if name in (":l/id", ":l/n", ":l/word"):
                        assert {f for f in wanted if f[1:3] == (name, v)} == set(read(view, "avet", name, v))
        conn._committer.index()
        assert [] == maintain.check(conn).problems
