"""Values of each type, with the corner cases of the type.

Law: the store accepts each value for an attribute of its type, and returns an equal one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from factstore import registry
from factstore.errors import FactStoreError
from factstore.schema.attribute import Attribute
from factstore.testing.strategies.schemas import Schema, database_of
from factstore.values.quoting import quoted
from factstore.values.types import LONG_MAX, LONG_MIN, VALUE_TYPES, Keyword, Symbol, Uri

# Where the widths of columns, floats and machine words end.
_BORDERS: Final = sorted(
    {sign * (1 << bits) + off for bits in (0, 7, 8, 15, 16, 31, 32, 53, 62) for off in (-1, 0, 1) for sign in (1, -1)}
    | {LONG_MIN, LONG_MAX},
    key=lambda n: (abs(n), n < 0),
)
_TEXTS: Final = ["", " ", "\0", ":red", "?x", "datomic.tx", "null", "0", "a\nb", "é", "e\u0301", "ß", "İ", "\U0001f600"]
_NAMES: Final = ["a", "a/b", "a.b/c", "a-b", "a1", "é/ü", "true", "nil", "a/b+c", "*a*", "<="]
_INSTANTS: Final = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2000, 2, 29, 12, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    datetime(2020, 1, 1, tzinfo=timezone(-timedelta(hours=23, minutes=59))),
]
_DECIMALS: Final = [Decimal(text) for text in ("0", "-0", "0.0", "1.0", "1.00", "1E+3", "1E-400", "1E+400")]
_FLOATS: Final = [0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), 2.0**53 + 1]
_BYTES: Final = [b"", b"\0", b"\xff" * 9, bytes(4097)]


def _often(corners: list[Any], rest: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Return a strategy that draws a corner case in half of the cases."""
    return st.sampled_from(corners) | rest


def _tuples(of: SearchStrategy[Any]) -> SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.none() | of, min_size=2, max_size=8).map(tuple)


_STRATEGIES: Final[Mapping[str, Callable[[], SearchStrategy[Any]]]] = {
    "long": lambda: _often(_BORDERS, st.integers(LONG_MIN, LONG_MAX)),
    "bigint": lambda: _often([*_BORDERS, LONG_MAX + 1, LONG_MIN - 1, 10**400], st.integers()),
    "double": lambda: _often(_FLOATS, st.floats(allow_nan=False)),
    "float": lambda: _often([0.0, -0.0, 0.5, float("inf"), 16_777_216.0], st.floats(allow_nan=False, width=32)),
    "bigdec": lambda: _often(_DECIMALS, st.decimals(allow_nan=False, allow_infinity=False)),
    "boolean": st.booleans,
    "instant": lambda: _often(_INSTANTS, st.datetimes(timezones=st.just(UTC))),
    "string": lambda: _often(_TEXTS, st.text()),
    "keyword": lambda: _often([Keyword(f":{name}") for name in _NAMES], _names().map(lambda name: Keyword(f":{name}"))),
    "symbol": lambda: _often([Symbol(name) for name in _NAMES], _names().map(Symbol)),
    "uri": lambda: _often([Uri("http://example.com/?q=%20#a"), Uri(""), Uri("not a uri")], st.text().map(Uri)),
    "uuid": lambda: _often([UUID(int=0), UUID(int=(1 << 128) - 1)], st.uuids()),
    "bytes": lambda: _often(_BYTES, st.binary()),
    "tuple": lambda: _tuples(st.integers(LONG_MIN, LONG_MAX)),
}


def _names() -> SearchStrategy[str]:
    part = st.text("abcxyz", min_size=1, max_size=3)
    return part | st.tuples(part, part).map("/".join)


@cache
def of_type(name: str) -> SearchStrategy[Any]:
    """Return the strategy for values of a type, by its short name."""
    return _STRATEGIES[name]()


def values(of: str, schema: Schema | None = None) -> SearchStrategy[Any]:
    """Return a strategy for values of a type, or of an attribute of a schema.

    Half of the values are corner cases of the type: borders of machine words, the first and last instants, texts that
    look like something else, decimals that are equal and differ.

    Args:
        of: the ident of a value type, such as ":db.type/long"; with a schema, that of an attribute.
        schema: tx-data or a database.
    Raises: FactStoreError(:db.error/invalid-strategy) for a reference, whose values are the entities of a database;
        DatabaseError for an undeclared attribute.
    """
    if schema is not None:
        return of_attribute(database_of(schema).attribute(of))
    kind = VALUE_TYPES.get(of)  # type: ignore[call-overload]
    if kind is None or kind.name == "ref":
        known = sorted(str(row.ident) for row in VALUE_TYPES.values() if row.name != "ref")
        text = f"expected one of {', '.join(known)}, or an attribute and its schema; got {quoted(of)}"
        raise FactStoreError(":db.error/invalid-strategy", text, got=of, known=known)
    return of_type(kind.name)


def of_attribute(attribute: Attribute) -> SearchStrategy[Any]:
    """Return the strategy for values of an attribute: of its type and accepted by its predicates.

    Raises: FactStoreError(:db.error/invalid-strategy) for a reference.
    """
    if attribute.is_ref:
        text = f"expected an attribute with values of its own; {attribute.ident} refers to the entities of a database"
        raise FactStoreError(":db.error/invalid-strategy", text, got=attribute.ident)
    strategy = _tuple_of(attribute) if attribute.is_tuple else of_type(attribute.value_type.name)
    return _accepted(attribute, strategy)


def _tuple_of(attribute: Attribute) -> SearchStrategy[Any]:
    if attribute.tuple_type is not None:
        return _tuples(_slot(attribute.tuple_type.name))
    return st.tuples(*(st.none() | _slot(kind.name) for kind in attribute.tuple_slot_types))


def _slot(kind: str) -> SearchStrategy[Any]:
    """Return the strategy for a slot of a tuple; a reference in a tuple is left empty."""
    return st.none() if kind == "ref" else of_type(kind)


def few_of(attribute: Attribute) -> SearchStrategy[Any]:
    """Return a strategy for very few values of an attribute, so that two transactions often have the same one."""
    name = attribute.value_type.name
    if attribute.is_tuple or name not in _FEW:
        return of_attribute(attribute)
    return _accepted(attribute, st.sampled_from(_FEW[name]))


def _accepted(attribute: Attribute, strategy: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Return the strategy with only the values that the predicates of the attribute accept."""
    predicates = [registry.lookup(name) for name in attribute.preds]
    if not predicates:
        return strategy
    return strategy.filter(lambda value: all(p is not None and p(value) is True for p in predicates))


_FEW: Final[Mapping[str, list[Any]]] = {
    "long": [0, 1, 2],
    "bigint": [0, 1, 1 << 64],
    "double": [0.0, 0.5, 1.0],
    "float": [0.0, 0.5, 1.0],
    "bigdec": [Decimal(0), Decimal("1.0"), Decimal("1.00")],
    "boolean": [False, True],
    "instant": _INSTANTS[:3],
    "string": ["a", "b", "c"],
    "keyword": [Keyword(":a"), Keyword(":b")],
    "symbol": [Symbol("a"), Symbol("b")],
    "uri": [Uri("a:a"), Uri("a:b")],
    "uuid": [UUID(int=0), UUID(int=1)],
    "bytes": [b"", b"a"],
}
