"""Answers as JSON: never larger than their limits, and never changed, only cut."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import Keyword, edn
from factstore.errors import QueryStopped
from factstore.mcp import Limits, Session, Tool
from factstore.mcp.answers import answer_text, plain

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=300)
    | st.binary(max_size=20)
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.just(UTC))
    | st.sampled_from([Keyword(":order.state/paid"), Keyword(":a")])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4), max_leaves=9
)


CONN = factstore.connect("memory:")


def session(limits: Limits) -> Session:
    return Session(CONN, "tests", limits)


@given(
    st.dictionaries(st.sampled_from("tuv"), VALUES),
    st.dictionaries(st.sampled_from("xyz"), st.lists(VALUES, max_size=30)),
    st.integers(1000, 4000),
    st.integers(1, 20),
)
def test_an_answer_keeps_within_its_limits_and_states_what_it_leaves_out(
    small: Mapping[str, Any], lists: Mapping[str, list[Any]], size: int, rows: int
) -> None:
    answer = {**small, **{name: iter(values) for name, values in lists.items()}}
    try:
        text = answer_text(answer, session(Limits(rows, size)))
    except QueryStopped as error:
        assert ":db.error/query-too-large" == error.code
        assert len(json.dumps(plain(small), ensure_ascii=False).encode()) > size - 400
        return
    assert len(text.encode("utf-8", "surrogatepass")) <= size
    shown = json.loads(text)
    is_cut = shown.pop("truncated", "") != ""
    assert json.loads(json.dumps(plain(small))) == {name: shown[name] for name in small}
    for name, values in lists.items():
        assert len(shown[name]) <= rows
        assert json.loads(json.dumps(plain(values)))[: len(shown[name])] == shown[name]
    assert is_cut == any(len(shown[name]) < len(values) for name, values in lists.items())


def test_a_number_that_python_cannot_write_is_text() -> None:
    """`json` raises ValueError for one of more than 4,300 digits, which a query can compute."""
    assert [5, f"1{'0' * 5000}"] == json.loads(answer_text({"x": [5, 10**5000]}, session(Limits(bytes=10_000))))["x"]


def test_a_list_is_read_no_further_than_its_limit() -> None:
    def rows() -> Iterator[int]:
        yield from range(3)
        raise AssertionError("read too far")

    assert '{"rows": [0, 1], "truncated": "only the first 2 of rows are shown: an answer has at most 2 rows"}' == answer_text(
        {"rows": rows()}, session(Limits(rows=2))
    )


def test_a_cancelled_answer_ends() -> None:
    asked = session(Limits())

    def rows() -> Iterator[int]:
        yield 1
        asked.cancel.set()
        yield 2
        raise AssertionError("read too far")

    with pytest.raises(QueryStopped) as raised:
        answer_text({"rows": rows()}, asked)
    assert ":db.error/query-cancelled" == raised.value.code


@pytest.mark.parametrize("value", [datetime(2026, 1, 31, tzinfo=UTC), Decimal("1.50"), UUID(int=7), b"\x00\xff"], ids=type)
def test_a_value_that_json_lacks_is_read_back_from_its_edn(value: Any) -> None:
    assert value == edn.read(plain(value))


def overdue(session: Session, days: int, name: str | None = None, at: str | int | None = None, all: bool | None = None) -> dict[str, Any]:
    """Return orders
    that are overdue.

    Args:
        days: the minimum
            number of days.
        name: of the customer.
        at: the time.
        all: whether paid ones count.
    Raises: nothing.
    """
    return {}


def test_a_function_is_a_tool_by_its_docstring_and_annotations() -> None:
    tool = Tool.of(overdue, writes=False)
    assert ("overdue", "Return orders\nthat are overdue.") == (tool.name, tool.doc)
    properties = tool.schema()["properties"]
    assert {"type": "integer", "description": "the minimum number of days."} == properties["days"]
    assert (["string", "integer"], "boolean", ["days"]) == (properties["at"]["type"], properties["all"]["type"], tool.schema()["required"])


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({}, "days is missing"),
        ({"days": "3"}, "days is an integer, got '3'"),
        ({"days": True}, "days is an integer, got True"),
        ({"days": 3, "name": 7}, "name is a string, got 7"),
        ({"days": 3, "at": 1.5}, "at is a string or an integer, got 1.5"),
        ({"days": 3, "nmae": "x"}, "it has no argument nmae"),
    ],
)
def test_arguments_of_other_types_are_rejected(given: dict[str, Any], part: str) -> None:
    with pytest.raises(factstore.FactStoreError, match="takes days, name") as raised:
        Tool.of(overdue, writes=False).checked(given)
    assert (":db.error/invalid-argument", True) == (raised.value.code, part in raised.value.message)


def test_an_argument_with_a_default_may_be_null() -> None:
    assert {"days": 3, "name": None} == Tool.of(overdue, writes=False).checked({"days": 3, "name": None})
