"""Sets of rows: whatever is done to make long ones sooner, they are those that `zip` makes."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from factstore.query.answer import sets
from factstore.query.answer.sets import set_of_rows
from factstore.query.relations import orders
from factstore.query.relations.relation import Column, Dictionary

SIZE = 40_000
RANDOM = np.random.default_rng(7)
NUMBERS = Column(int, RANDOM.integers(-500, 500, SIZE))
IDS = Column(int, RANDOM.integers(1 << 42, 1 << 43, SIZE))
NAMES = Column(str, RANDOM.integers(0, 3, SIZE), Dictionary({"a": 0, "b": 1, "c": 2}))
FLOATS = Column(float, RANDOM.random(SIZE))
LISTED = Column(object, list(range(SIZE)))


@pytest.mark.parametrize("columns", [[NUMBERS], [IDS, NUMBERS], [NAMES, IDS, NUMBERS], [FLOATS, IDS], [LISTED, NUMBERS]])
@pytest.mark.parametrize("size", [3, 5_000, SIZE])
def test_the_set_is_that_of_the_rows(columns: list[Column], size: int) -> None:
    columns = [column.take(slice(0, size)) for column in columns]
    found = set_of_rows(columns)
    assert set(zip(*(column.values() for column in columns), strict=True)) == found
    assert all(type(part) in (int, str, float) for row in found for part in row)


@pytest.mark.parametrize("collecting", [True, False])
def test_the_collector_is_left_as_it_was(collecting: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        set_of_rows([NUMBERS])
        with pytest.raises(TypeError):
            set_of_rows([Column(object, [[]] * sets._COLLECTING_COSTS)])
        assert collecting == gc.isenabled()
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize(
    "numbers", [[], [3], [2, 1, 2, 0, 1], [1 << 61, -(1 << 61), 0, 0], [True, False, True], [0.5, -1.0, 0.5], list(range(9, 0, -1)) * 3]
)
def test_positions_are_those_of_a_stable_sort(numbers: list[Any]) -> None:
    array = np.array(numbers)
    assert np.argsort(array, kind="stable").tolist() == orders.order_of(array).tolist()
    assert sorted(numbers.index(each) for each in set(numbers)) == orders.firsts_of(array).tolist()
