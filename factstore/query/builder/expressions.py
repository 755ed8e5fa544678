"""Expressions of queries in Python. To a type checker, an expression has the type of the values that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast, overload

from factstore.query.builder.terms import (
    Aggregated,
    Calculated,
    Compound,
    Descending,
    EntityTerm,
    FactCondition,
    Many,
    Named,
    Path,
    Pulled,
    Source,
    Term,
    VariableTerm,
    shape_of,
    wrong,
)
from factstore.schema.class_fields import is_shape
from factstore.values.quoting import quoted
from factstore.values.types import Keyword, Symbol

T = TypeVar("T")
ANY: Final[Any] = Symbol("_")


def entity(shape: type[T], name: str | None = None, *, source: Source | None = None) -> T:
    """Return a variable for an entity; the fields of a dataclass are its attributes.

    Args:
        name: the name of the variable in text; by default the name of the class.
    """
    if not is_shape(shape):
        raise wrong(f"expected a dataclass, got {quoted(shape)}", got=shape)
    return cast("T", EntityTerm(shape, name, source))


def var(kind: type[T], name: str | None = None) -> T:
    """Return a variable for values of a type."""
    return cast("T", VariableTerm(name))


def source(name: str) -> Source:
    """Return a source other than `$`: another database, or a collection of tuples."""
    return Source(name)


def eid(of: object) -> int:
    """Return the id of an entity."""
    return cast("int", _term(of, EntityTerm | Path, "eid(…) takes an entity"))


def each(values: Iterable[T]) -> T:
    """Return each value of an attribute with many values."""
    return cast("T", _term(values, Path, "each(…) takes an attribute with many values"))


def some(value: T | None) -> T:
    """Return an optional value; a condition on it does not hold for an entity without the value."""
    return cast("T", _term(value, Path, "some(…) takes an attribute"))


def missing(value: object) -> bool:
    """Return the condition that an entity has no value of an attribute."""
    return cast("bool", Calculated("missing?", (), _path(value, "missing(…) takes an attribute")))


def get_else(value: T | None, default: T) -> T:
    """Return the value of an attribute, or a default if there is none."""
    return cast("T", Calculated("get-else", (default,), _path(value, "get_else(…) takes an attribute")))


def fact(*terms: Any, source: Source | None = None) -> bool:
    """Return the pattern `[e a v tx op]` over facts, or a pattern over tuples of any width; `ANY` matches anything.

    Attributes are strings with a colon: `fact(p, ":person/name", n, tx)`.
    """
    parts = tuple(
        Keyword(term) if i == 1 and type(term) is str and term.startswith(":") else term for i, term in enumerate(terms)
    )
    if not parts:
        raise wrong("a fact needs at least one term")
    return cast("bool", FactCondition(parts, source))


def and_(*conditions: bool) -> bool:
    """Return the condition that all of these conditions hold."""
    return cast("bool", Compound("and", conditions))


def or_(*conditions: bool) -> bool:
    """Return the condition that any of these conditions holds; a variable of only one of them is local to it."""
    return cast("bool", Compound("or", conditions))


def not_(*conditions: bool) -> bool:
    """Return the condition that these do not all hold, for any values of the variables that occur only here."""
    return cast("bool", Compound("not", conditions))


def apply(function: Callable[..., T], *args: Any) -> T:
    """Return the result of a Python callable for each row; as a condition, the result must be true.

    The callables are inputs of the query, so its text alone cannot be run.
    """
    return cast("T", Calculated(function, args))


def call(kind: type[T], function: str, *args: Any) -> T:
    """Return the result of a built-in or registered function: `call(str, "name", p.role)`."""
    return cast("T", Calculated(function, args))


def named(term: T, name: str) -> T:
    """Return a column of the answer with a name, for `having`, `order_by` and the names of columns."""
    return cast("T", Named(term, VariableTerm(name)))


def desc(key: Any) -> Any:
    """Return a key of `order_by` for descending order."""
    return Descending(key)


def many(*variables: Any) -> Any:
    """Return an input of many values, or of many tuples if there are several variables."""
    if not variables:
        raise wrong("many(…) needs at least one variable")
    return Many(variables)


@overload
def pull(of: T) -> T: ...
@overload
def pull(of: object, pattern: Any) -> dict[Any, Any]: ...
def pull(of: Any, pattern: Any = None) -> Any:
    """Return a pull of an entity: an instance of its class, or with a pattern a dict."""
    _term(of, EntityTerm | Path | VariableTerm, "pull(…) takes an entity")
    if pattern is None and shape_of(of) is None:
        raise wrong("pull(…) of a variable without a class needs a pattern")
    if isinstance(pattern, str):
        from factstore import edn

        pattern = edn.read(pattern)
    return Pulled(of, pattern)


# -- aggregates


def count(term: object) -> int:
    """Return the number of rows in a group."""
    return cast("int", Aggregated("count", (), term))


def count_distinct(term: object) -> int:
    """Return the number of distinct values in a group."""
    return cast("int", Aggregated("count-distinct", (), term))


def sum_(term: T) -> T:
    """Return the sum of the values in a group."""
    return cast("T", Aggregated("sum", (), term))


def avg(term: float) -> float:
    """Return the mean of the values in a group."""
    return cast("float", Aggregated("avg", (), term))


def median(term: T) -> T:
    """Return the median of the values in a group."""
    return cast("T", Aggregated("median", (), term))


def variance(term: float) -> float:
    """Return the population variance of the values in a group."""
    return cast("float", Aggregated("variance", (), term))


def stddev(term: float) -> float:
    """Return the population standard deviation of the values in a group."""
    return cast("float", Aggregated("stddev", (), term))


def min_(term: T) -> T:
    """Return the smallest value in a group."""
    return cast("T", Aggregated("min", (), term))


def max_(term: T) -> T:
    """Return the greatest value in a group."""
    return cast("T", Aggregated("max", (), term))


def least(n: int, term: T) -> tuple[T, ...]:
    """Return the n smallest values in a group."""
    return cast("tuple[T, ...]", Aggregated("min", (n,), term))


def greatest(n: int, term: T) -> tuple[T, ...]:
    """Return the n greatest values in a group."""
    return cast("tuple[T, ...]", Aggregated("max", (n,), term))


def sample(n: int, term: T) -> tuple[T, ...]:
    """Return up to n distinct values in a group."""
    return cast("tuple[T, ...]", Aggregated("sample", (n,), term))


def rand(term: T) -> T:
    """Return an arbitrary value in a group."""
    return cast("T", Aggregated("rand", (), term))


def distinct(term: T) -> frozenset[T]:
    """Return the distinct values in a group."""
    return cast("frozenset[T]", Aggregated("distinct", (), term))


def aggregate(function: Callable[[list[Any]], T], term: Any) -> T:
    """Return the result of a Python callable for the list of the values in a group."""
    return cast("T", Aggregated(function, (), term))


def _term(thing: object, kinds: Any, message: str) -> Term:
    if not isinstance(thing, kinds):
        raise wrong(f"{message}, got {quoted(thing)}", got=thing)
    return cast("Term", thing)


def _path(thing: object, message: str) -> Path:
    return cast("Path", _term(thing, Path, message))
