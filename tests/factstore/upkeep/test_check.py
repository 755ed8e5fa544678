"""What a check finds does not depend on how much of a store it reads at once, and it reads no more at once than that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factstore
from factstore import maintain
from factstore.columns import block
from factstore.index.directory import NOTHING, Index
from factstore.upkeep import checking

MANY = ":db.cardinality/many"
ONE = ":db.cardinality/one"
SCHEMA = [
    {":db/ident": f":c/{name}", ":db/valueType": f":db.type/{kind}", ":db/cardinality": cardinality, **more}
    for name, kind, cardinality, more in [
        ("a", "long", ONE, {}),
        ("b", "long", ONE, {}),
        ("forgotten", "long", ONE, {":db/noHistory": True}),
        ("many", "string", MANY, {}),
    ]
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block.split, "__defaults__", (16,))


@st.composite
def stores(draw: st.DrawFn) -> factstore.Connection:
    conn = factstore.connect("memory:")
    conn.transact(SCHEMA)
    conn.load({"a": np.arange(draw(st.integers(1, 60)))}, {"a": ":c/a"}, progress=False)
    es = list(conn.transact([{":db/id": str(i), ":c/a": i} for i in range(20)]).tempids.values())
    values = st.integers(0, 3)
    for _ in range(draw(st.integers(0, 6))):
        facts: dict[tuple[int, str], Any] = {}
        for e in draw(st.lists(st.sampled_from(es), max_size=8)):
            attribute = draw(st.sampled_from([":c/a", ":c/b", ":c/forgotten", ":c/many"]))
            value = draw(values)
            facts[e, attribute] = str(value) if attribute == ":c/many" else value
        conn.transact([[":db/add", e, a, v] for (e, a), v in facts.items()])
        gone = draw(st.sampled_from(es))
        conn.transact([[":db/retract", gone, draw(st.sampled_from([":c/b", ":c/many"]))]])
        if draw(st.booleans()):
            conn._committer.index()
    if draw(st.booleans()):
        conn._committer.index()
        conn.excise(draw(st.sampled_from(es)))
    conn._committer.index()
    conn.transact([{":c/a": 1}])  # is not in the index
    return conn


def damaged(index: Index, data: st.DataObject) -> Index:
    """The index with one thing in its root changed."""
    a, b = data.draw(st.lists(st.sampled_from(sorted(index.entries)), min_size=2, max_size=2, unique=True))
    entry, other = index.entries[a], index.entries[b]
    field = data.draw(st.sampled_from(["rows", "ev", "ve", "past_ev", "past_ve", "gone", "sets", "swapped"]))
    if field == "gone":
        return replace(index, entries={key: value for key, value in index.entries.items() if key != a})
    if field == "sets":
        return replace(index, sets=tuple(one[:-1] for one in index.sets))
    if field == "swapped":
        return replace(index, sets=index.sets[::-1])
    changed = {"rows": entry.rows + 1}.get(field, NOTHING if data.draw(st.booleans()) else getattr(other, field))
    return replace(index, entries={**index.entries, a: entry._replace(**{field: changed})})


def problems(conn: factstore.Connection, index: Index) -> list[str]:
    try:
        return checking._checked(conn._storage, index).problems
    except Exception as error:  # blocks of another type of value
        return [type(error).__name__]


def in_portions(size: int) -> Any:
    return mock.patch.multiple(checking, PORTION=size, _FACTS_AT_ONCE=size, _BLOCKS_AT_ONCE=2)


@given(stores(), st.integers(1, 200), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_check_in_portions_finds_what_a_check_at_once_finds(conn: factstore.Connection, size: int, data: st.DataObject) -> None:
    with conn:
        assert maintain.check(conn).problems == []
        index = conn.db().view.index
        with in_portions(size):
            assert maintain.check(conn).problems == []
            broken = damaged(index, data)
            found = problems(conn, broken)
        assert found == problems(conn, broken)


@given(st.integers(30, 300))
@settings(max_examples=10, deadline=None)
def test_a_portion_is_not_much_larger_than_its_limit(size: int) -> None:
    seen: list[int] = []
    collect = checking._collect

    def counted(storage: Any, basis_t: int, group: Any) -> None:
        collect(storage, basis_t, group)
        seen.append(sum(rows.size for portion in group for rows in portion._parts))

    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        for _ in range(5):
            conn.load({"a": range(200), "b": range(200)}, {"a": ":c/a", "b": ":c/b"}, progress=False)
            conn._committer.index()
        with in_portions(size), mock.patch.object(checking, "_collect", counted):
            assert maintain.check(conn).problems == []
    assert max(seen) <= size + 3 * 16 * 2  # the ends of portions are ends of blocks
    assert len(seen) >= 2000 // size


@pytest.fixture
def conn() -> Iterator[factstore.Connection]:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        conn.transact([{":c/a": i, ":c/many": ["x", "y"]} for i in range(100)])
        conn._committer.index()
        yield conn


def test_an_undeclared_attribute_in_the_sets_is_found(conn: factstore.Connection) -> None:
    index = conn.db().view.index
    broken = replace(index, sets=tuple((*one, 9999) for one in index.sets))
    assert "other attributes than the log" in " ".join(problems(conn, broken))


def test_a_set_that_the_root_lacks_is_found(conn: factstore.Connection) -> None:
    index = conn.db().view.index
    assert "does not fit its root" in " ".join(problems(conn, replace(index, sets=index.sets[:1])))
