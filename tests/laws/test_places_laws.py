"""Places: a guess never changes what is found."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from factstore.columns.column import FactArrays
from factstore.index.positions import EntityLookup, LastPositions, one_each

IDS = st.integers(0, 40)


def column(pairs):
    es, vs = [list(part) for part in zip(*sorted(pairs), strict=True)] if pairs else ([], [])
    return FactArrays(np.array(es, np.int64), np.array(vs, np.int64), np.zeros(len(es), np.int64))


@given(st.sets(st.tuples(IDS, st.integers(0, 12)), max_size=60), st.integers(-1, 42))
def test_a_glance_finds_the_values_of_an_entity_in_order(pairs, e):
    lookup = EntityLookup(column(pairs), is_one_each=False)
    assert tuple(v for each, v in sorted(pairs) if each == e) == lookup.values_of(e)


@given(st.dictionaries(IDS, st.integers(0, 12), max_size=60), st.integers(-1, 42))
def test_a_glance_finds_the_value_of_an_entity_where_each_has_one(values, e):
    lookup = EntityLookup(column(values.items()), is_one_each=True)
    assert ((values[e],) if e in values else ()) == lookup.values_of(e)


@given(st.lists(st.dictionaries(IDS, st.integers(), max_size=30), max_size=4), st.lists(IDS, max_size=20))
def test_places_carried_from_column_to_column_find_what_a_search_finds(columns, es):
    places, wanted = LastPositions(), np.array(es, np.int64)
    for values in columns:
        rows = column([(e, abs(v) % 1000) for e, v in values.items()])
        at, which = one_each(rows, wanted, places)
        assert [i for i, e in enumerate(es) if e in values] == which.tolist()
        assert [e for e in es if e in values] == rows.e[at].tolist()
