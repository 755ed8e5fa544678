"""A load finds the rows whose unique value exists already, with or without a filter of the existing values."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore.columns import column
from factstore.connection import unique_values
from factstore.connection.unique_values import Filter

ONE = {":db/cardinality": ":db.cardinality/one"}
KEYS = {"string": str, "long": int, "double": float}
COLUMNS = {
    "i8": st.integers(-(1 << 63), (1 << 63) - 1),
    "f8": st.floats(allow_nan=False),
    "O": st.text(max_size=4) | st.uuids(),
}


@pytest.mark.parametrize("dtype", COLUMNS)
@given(st.data())
def test_a_filter_contains_what_was_added(dtype: str, data: st.DataObject) -> None:
    values = st.lists(COLUMNS[dtype], max_size=30)
    with mock.patch.object(unique_values, "_LEAST_BITS", 64):
        made = Filter(data.draw(st.integers(0, 40)))
        added: list[Any] = []
        for more in data.draw(st.lists(values, max_size=5)):
            made.add(column.array_of(more, dtype))
            added += more
            assert made.may_contain(column.array_of(added, dtype)).all()


@given(st.integers(1, 50_000), st.integers(1, 5_000))
@settings(max_examples=20, deadline=None)
def test_a_filter_takes_a_few_bytes_for_each_value_and_finds_few_others(count: int, batch: int) -> None:
    made = Filter(0)
    for at in range(0, count, batch):
        made.add(column.ints(range(at, min(at + batch, count))))
    most = unique_values._LEAST_BITS // 8 + 12 * (count + batch)
    assert made.nbytes <= most
    others = made.may_contain(column.ints(range(-10_000, 0)))
    assert others.sum() < 100


def loaded(kind: str, steps: list[tuple[str, list[int], bool]], share: int) -> list[Any]:
    """The facts after some loads and transactions of two connections, with a filter from this share of checked values on."""
    key = KEYS[kind]
    with (
        mock.patch.object(unique_values, "_FILTER_PAYS", share),
        factstore.connect("memory:unique-values") as conn,
        factstore.connect("memory:unique-values") as other,
    ):
        conn.transact(
            [
                {":db/ident": ":u/key", ":db/valueType": f":db.type/{kind}", ":db/unique": ":db.unique/identity", **ONE},
                {":db/ident": ":u/n", ":db/valueType": ":db.type/long", **ONE},
            ]
        )

        def meanwhile(rows: int, _seconds: float) -> None:
            if rows % 2:
                other.transact([{":u/key": key(100 + rows), ":u/n": rows}])

        for what, numbers, is_indexed in steps:
            if what == "load":
                table = {"k": [key(n) for n in numbers], "n": [n * 7 for n in numbers]}
                conn.load(table, {"k": ":u/key", "n": ":u/n"}, batch_rows=3, progress=meanwhile)
            elif what == "transact":
                conn.transact([{":u/key": key(n), ":u/n": n} for n in dict.fromkeys(numbers)])
            else:
                held = factstore.q("[:find ?e ?k :where [?e :u/key ?k]]", conn.db())
                conn.transact([[":db/retract", e, ":u/key", k] for e, k in held if k in {key(n) for n in numbers}])
            if is_indexed:
                conn._committer.index()
        of_entity: dict[int, set[Any]] = {}
        for datom in conn.db().history().datoms("eavt"):
            if datom.a >= 100:
                of_entity.setdefault(datom.e, set()).add((datom.a, datom.v, datom.tx, datom.added))
        return sorted(map(sorted, of_entity.values()))  # a value that was retracted decides which row is numbered first


STEPS = st.tuples(
    st.sampled_from(["load", "load", "transact", "retract"]),
    st.lists(st.integers(0, 12) | st.integers(100, 112), min_size=1, max_size=10),
    st.booleans(),
)


@pytest.mark.parametrize("kind", KEYS)
@given(steps=st.lists(STEPS, max_size=6))
@settings(max_examples=25, deadline=None)
def test_a_load_gives_the_same_facts_with_and_without_a_filter(kind: str, steps: list[tuple[str, list[int], bool]]) -> None:
    assert loaded(kind, steps, 0) == loaded(kind, steps, 1 << 40)
