"""EDN as properties: nothing is lost on the way to text and back, and no text does more harm than a ReadError."""

from __future__ import annotations

import math
import string
from datetime import UTC
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore import edn
from factstore.errors import ReadError
from factstore.values.types import Keyword, Symbol, Uri

NAMES = st.text(string.ascii_letters + "*+!-_?$%&=<>.é", min_size=1, max_size=8).filter(
    lambda name: name not in {"nil", "true", "false"} and not name[0].isdigit()
)
QUALIFIED = st.one_of(NAMES, st.tuples(NAMES, NAMES).map("/".join))
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.text(st.characters()),
    QUALIFIED.map(lambda name: Keyword(":" + name)),
    QUALIFIED.map(Symbol),
    st.text().map(Symbol),
    st.text().map(Uri),
    st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0)),
    st.uuids(),
    st.binary(),
)


def apart(values: list[Any]) -> bool:
    """Tell whether no two of the values are equal in Python."""
    return len(frozenset(values)) == len(values)


KEYS = st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
VALUES = st.recursive(
    st.one_of(ATOMS, st.lists(KEYS, max_size=4).filter(apart).map(frozenset)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=20,
)


def typed(value: Any) -> Any:
    """Return the value with the type of everything in it spelled out; -0.0 and 1.50M differ from 0.0 and 1.5M."""
    if isinstance(value, list | tuple):
        return type(value), [typed(item) for item in value]
    if isinstance(value, frozenset):
        return frozenset, sorted(repr(typed(item)) for item in value)
    if isinstance(value, dict):
        return dict, [(typed(key), typed(item)) for key, item in value.items()]
    if isinstance(value, float | Decimal):
        return type(value), str(value), math.copysign(1, value)
    return type(value), value


@given(VALUES)
def test_what_is_written_is_read_back_with_equal_types(value: Any) -> None:
    assert typed(value) == typed(edn.read(edn.write(value)))


@given(st.lists(VALUES, max_size=4), st.sampled_from([" ", ",", "\n", " ; and\n", " #_ [1 {:a 2}] "]))
def test_what_stands_between_values_does_not_change_them(values: list[Any], between: str) -> None:
    text = between.join(map(edn.write, values))
    assert typed(values) == typed(edn.read_all(text))


@given(VALUES)
def test_writing_a_value_that_was_read_gives_the_same_text(value: Any) -> None:
    text = edn.write(value)
    assert text == edn.write(edn.read(text))


FRAGMENTS = st.sampled_from(
    [
        *"()[]{}\"\\;:#_/.+-0129aeEMNu, \n'@^`~",
        "#{",
        "#_",
        "#inst",
        "#uuid ",
        "#base64",
        "#uri",
        "#symbol",
        "#:a",
        "##",
        "##Inf",
        "nil",
        r"\u",
        '"2026"',
        "1.",
        "\\newline",
    ]
)


@given(st.one_of(st.text(), st.lists(FRAGMENTS).map("".join), st.lists(st.one_of(FRAGMENTS, VALUES.map(edn.write))).map("".join)))
def test_any_text_is_read_or_refused_with_a_place_inside_it(text: str) -> None:
    try:
        edn.read_all(text)
    except ReadError as error:
        lines = text.split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1


@given(VALUES, st.data())
def test_text_cut_off_inside_a_collection_is_refused(value: Any, data: st.DataObject) -> None:
    text = edn.write([value])
    cut = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(ReadError):
        edn.read(text[:cut])
