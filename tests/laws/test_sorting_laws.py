"""Laws of sorting: rows have one order, whichever way it is found, and a sort of sorted parts is their merge."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore.columns import column, keys
from factstore.columns.column import BY_ENTITY, BY_VALUE, FactArrays
from factstore.columns.keys import order_of
from factstore.columns.kind import INTEGERS, KINDS, OBJECTS
from factstore.values.types import order_key

WIDE = st.sampled_from([-(1 << 63), -1, 0, 1, (1 << 62) - 1, 1 << 62, (1 << 63) - 1])
VALUES_OF_KINDS = {
    "long": (st.integers(-2, 2), INTEGERS),
    "long of all sizes": (WIDE, INTEGERS),
    "double": (st.sampled_from([0.0, 1.5, -2.0, float("inf"), float("-inf")]), KINDS[":db.type/double"]),
    "boolean": (st.booleans(), KINDS[":db.type/boolean"]),
    "string": (st.sampled_from(["", "a", "b", "ü", "a\0"]), OBJECTS),
    "tuple": (st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(0, 2)), KINDS[":db.type/tuple"]),
}
ENTITIES = st.integers(0, 3) | st.integers((2 << 42) - 1, (2 << 42) + 3)


@pytest.fixture(autouse=True, params=[0, 4096])
def way(request, monkeypatch):
    monkeypatch.setattr(keys, "_PACKING_PAYS", request.param)
    monkeypatch.setattr(keys, "_TEXT_PAYS", request.param)


def rows_of(events, kind):
    e, v, t, added = (list(part) for part in zip(*events, strict=True)) if events else ([], [], [], [])
    return FactArrays(column.ints(e), column.array_of(v, kind.dtype), column.ints(t), column.array_of(added, "?"))


def events_in(rows):
    return list(zip(*(part.tolist() for part in rows), strict=True))


def expected(events, order):
    def key(event):
        e, v = event[0], order_key(event[1])
        return (e, v, *event[2:]) if order == BY_ENTITY else (v, e, *event[2:])

    return sorted(events, key=key)


@pytest.mark.parametrize("order", [BY_ENTITY, BY_VALUE])
@pytest.mark.parametrize("name", VALUES_OF_KINDS)
@given(st.data())
def test_rows_have_the_order_of_their_definition(name, order, data):
    values, kind = VALUES_OF_KINDS[name]
    events = data.draw(st.lists(st.tuples(ENTITIES, values, st.integers(0, 3) | WIDE, st.booleans()), max_size=30))
    assert expected(events, order) == events_in(column.sort(rows_of(events, kind), order, kind))
    without = column.sort(rows_of(events, kind)._replace(added=None), order, kind)
    assert [event[:3] for event in expected([event[:3] for event in events], order)] == events_in(without[:3])


@pytest.mark.parametrize("order", [BY_ENTITY, BY_VALUE])
@pytest.mark.parametrize("name", VALUES_OF_KINDS)
@given(st.data())
def test_a_merge_of_sorted_parts_is_a_sort_of_all_rows(name, order, data):
    values, kind = VALUES_OF_KINDS[name]
    events = data.draw(st.lists(st.tuples(ENTITIES, values, st.integers(0, 9), st.booleans()), max_size=30))
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, 10), max_size=3))), 10]
    parts = [
        column.sort(rows_of([event for event in events if low <= event[2] < high], kind), order, kind)
        for low, high in itertools.pairwise(cuts)
    ]
    merged = column.merge(parts, order, kind)
    assert expected(events, order) == (events_in(merged) if events else [])


@given(st.lists(st.lists(st.tuples(*[WIDE | st.integers(0, 3)] * 3), max_size=10), min_size=1, max_size=3))
def test_keys_in_few_words_order_like_keys_one_by_one(parts):
    rows = [row for part in parts for row in sorted(part)]
    in_words = [column.ints(key) for key in zip(*rows, strict=True)] if rows else [column.ints(())]
    in_order = [rows[i] for i in order_of(in_words[::-1]).tolist()]
    assert sorted(rows) == in_order
