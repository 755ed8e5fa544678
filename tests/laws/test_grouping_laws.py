"""Laws of the columns of a query: groups, first positions and positions in a sorted column are those of nested loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore.query.relations import algebra, array_tables
from factstore.query.relations.relation import Column, Numbers

NUMBERS = st.integers(0, 3) | st.integers(-(1 << 60), 1 << 60)


@pytest.fixture(autouse=True, params=[2, 1 << 14])
def rows_in_a_part(request, monkeypatch):
    monkeypatch.setattr(algebra, "_PART", request.param)
    monkeypatch.setattr(algebra, "_REPEATED", 2 if request.param == 2 else 16)


def array(numbers):
    return np.array(list(numbers), np.int64)


@given(st.lists(NUMBERS, max_size=30) | st.lists(st.integers(0, 3), max_size=60))
def test_first_places_are_where_each_number_is_seen_first(numbers):
    expected = [i for i, number in enumerate(numbers) if number not in numbers[:i]]
    assert expected == algebra.first_places(array(numbers)).tolist()


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", "a", "b"])), min_size=1, max_size=60))
def test_rows_are_in_one_group_if_they_are_equal(rows):
    numbers, texts = zip(*rows, strict=True)
    groups, firsts = algebra.grouped([Column(int, array(numbers)), Column(str, list(texts))])
    assert [rows[firsts[group]] for group in groups.tolist()] == rows
    assert len(set(rows)) == len(firsts)


@given(st.lists(st.text(max_size=2), max_size=20), st.lists(st.text(max_size=2), max_size=20))
def test_equal_values_have_equal_numbers(first, then):
    numbers = Numbers()
    found = [*numbers.of(first).tolist(), *numbers.of(then).tolist()]
    distinct = list(dict.fromkeys([*first, *then]))
    assert [distinct.index(value) for value in [*first, *then]] == found


@given(st.lists(st.integers(0, 9), max_size=12), st.booleans(), st.lists(st.integers(-1, 10), max_size=12), st.booleans())
def test_numbers_are_found_where_they_are_in_a_sorted_array(numbers, distinct, wanted, same):
    numbers = sorted(set(numbers) if distinct else numbers)
    wanted = list(numbers) if same else wanted
    column = array(numbers)
    for _ in range(3):  # before and after the array has tables
        places, at = array_tables.positions_of(column, array(wanted))
        found = zip(np.arange(len(wanted))[at].tolist(), np.arange(len(numbers))[places].tolist(), strict=True)
        assert [(i, j) for i, number in enumerate(wanted) for j, other in enumerate(numbers) if number == other] == list(found)
