"""How any value is shown in the message of an error."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore import quoted
from factstore.values.quoting import described, did_you_mean


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("no text")


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        (["a", 1, None], "['a', 1, None]"),
        ((1,), "(1,)"),
        ({"a": {1}}, "{'a': {1}}"),
        (frozenset(), "frozenset()"),
        (frozenset({1}), "frozenset({1})"),
        (10**5000, "<int of 16,610 bits>"),
        ([-(10**5000)], "[<int of 16,610 bits>]"),
        (Unshowable(), "<Unshowable that cannot be shown>"),
        ([Unshowable()], "<list that cannot be shown>"),
        (circle(), "[[[[[[[[[…]]]]]]]]]"),
        (nested(100_000), "[[[[[[[[[…]]]]]]]]]"),
    ],
    ids=lambda part: part if isinstance(part, str) else "value",
)
def test_a_value_is_shown_as_python_shows_it_where_that_is_possible(value: Any, text: str) -> None:
    assert text == quoted(value)


def test_what_is_long_is_cut_without_being_made_whole() -> None:
    assert "'" + "x" * 198 + "…" == quoted("x" * 10_000_000)
    assert 200 == len(quoted(list(range(1_000_000))))
    assert "[1, 2…" == quoted([1, 2, 3], 6)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "declare it"),
        (["odd"], "; did you mean odd?"),
        (["a", "even?"], "; did you mean a or even?"),
        (["even?", "a"], "; did you mean even? or a?"),
    ],
)
def test_the_nearest_names_are_suggested_in_one_question(names: list[str], text: str) -> None:
    assert text == did_you_mean(names, "declare it")


def test_a_description_has_the_type() -> None:
    assert "1.5 (float)" == described(1.5)


_ATOMS = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.builds(pow, st.just(10), st.just(5000)),
    st.just(math),
    st.builds(Unshowable),
)
_VALUES = st.recursive(_ATOMS, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner))


@given(_VALUES, st.integers(1, 300))
def test_any_value_is_shown_within_the_limit(value: Any, limit: int) -> None:
    assert len(quoted(value, limit)) <= limit
