"""Values of annotated types as EDN: each comes back equal, and a value of another type is rejected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore import Keyword, edn
from overseer import HandlerError
from overseer.typed.codecs import SCALARS, Mismatch, codec


@dataclass(frozen=True)
class Line:
    sku: str
    count: int = 1
    tags: tuple[str, ...] = ()


STRATEGIES: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    bytes: st.binary(max_size=5),
    datetime: st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False, places=2),
    float: st.floats(allow_nan=False, allow_infinity=False),
    int: st.integers(-(10**20), 10**20),
    Keyword: st.sampled_from([Keyword(":a"), Keyword(":b/c")]),
    str: st.text(max_size=5) | st.just(":red"),
    UUID: st.uuids(),
    Literal["a", 2]: st.sampled_from(["a", 2]),
    Line: st.builds(Line, st.text(max_size=3), st.integers(0, 9), st.lists(st.text(max_size=2), max_size=2).map(tuple)),
}
HASHABLE = [hint for hint in STRATEGIES if hint not in (float, Decimal)]


def wrapped(typed: tuple[Any, Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    hint, values = typed
    several = st.lists(values, max_size=3)
    return st.sampled_from(
        [
            (list[hint], several),
            (tuple[hint, ...], several.map(tuple)),
            (tuple[hint, int], st.tuples(values, st.integers(0, 9))),
            (dict[str, hint], st.dictionaries(st.text(max_size=2), values, max_size=3)),
            (hint | None, st.none() | values),
        ]
    )


def typed_values() -> st.SearchStrategy[tuple[Any, Any]]:
    """Return a strategy of annotations, each with a value of that type."""
    sets = st.sampled_from([(frozenset[hint], st.frozensets(STRATEGIES[hint], max_size=3)) for hint in HASHABLE])
    base = st.sampled_from(list(STRATEGIES.items())) | sets
    deep = st.recursive(base, lambda inner: inner.flatmap(wrapped), max_leaves=3)
    return deep.flatmap(lambda typed: st.tuples(st.just(typed[0]), typed[1]))


@given(typed_values())
def test_a_value_comes_back_equal_and_of_its_type(typed):
    hint, value = typed
    way = codec(hint)
    back = way.decode(edn.read(edn.write(way.encode(value))))
    assert value == back
    assert type(value) is type(back)


@given(st.sampled_from(SCALARS), st.data())
def test_a_value_of_another_type_is_rejected(hint, data):
    others = [kind for kind in SCALARS if kind is not hint and not issubclass(kind, hint) and (hint, kind) != (float, int)]
    value = data.draw(STRATEGIES[data.draw(st.sampled_from(others))])
    with pytest.raises(Mismatch, match="expected"):
        codec(hint).encode(value)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (list[int], "12"),
        (list[int], {1}),
        (set[int], [1]),
        (tuple[int, str], (1,)),
        (dict[str, int], [("a", 1)]),
        (dict[str, int], {"a": "b"}),
        (Literal["a"], "b"),
        (Literal[1], True),
        (Line, {"sku": "x"}),
        (int | None, "x"),
        (None, 0),
        (datetime, datetime(2026, 1, 1)),
    ],
)
def test_a_value_that_does_not_fit_is_rejected(hint, value):
    with pytest.raises(Mismatch, match="expected"):
        codec(hint).encode(value)


@pytest.mark.parametrize("stored", ["{:size 3}", "3", "{}"])
def test_a_stored_map_with_other_fields_is_rejected(stored):
    with pytest.raises(Mismatch):
        codec(Line).decode(edn.read(stored))


@pytest.mark.parametrize("hint", [object(), range, list[range], type])
def test_a_type_that_no_job_can_keep_is_rejected(hint):
    with pytest.raises(HandlerError, match="not a type that a job can keep") as caught:
        codec(hint)
    assert ":job.error/bad-annotation" == caught.value.code


@dataclass(frozen=True)
class Card:
    number: int


@dataclass(frozen=True)
class Iban:
    number: int


@dataclass(frozen=True)
class Paper:
    number: int
    currency: str = "eur"


@dataclass(frozen=True)
class Chain:
    rest: Chain | None


@pytest.mark.parametrize("hint", [Card | Iban, Iban | Card | None, Paper | Card, list[Card | Iban]])
def test_a_union_of_classes_that_cannot_be_distinguished_is_rejected(hint: Any) -> None:
    with pytest.raises(HandlerError, match="cannot be distinguished from") as caught:
        codec(hint)
    assert ":job.error/bad-annotation" == caught.value.code


@pytest.mark.parametrize("value", [Card(1), Paper(1), Paper(2, "usd")])
def test_the_value_of_a_union_keeps_its_class(value: Card | Paper) -> None:
    of = codec(Card | Paper)
    assert of.decode(of.encode(value)) == value


def test_a_class_that_contains_itself_is_rejected() -> None:
    with pytest.raises(HandlerError, match="Chain contains itself"):
        codec(Chain)
