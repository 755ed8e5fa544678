"""Words: what a query is written with in Python. To a type checker each has the type of the values that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast, overload

from factstore.query.builder.terms import (
    Aggregated,
    Calculated,
    Compound,
    Descending,
    Entity,
    Many,
    Named,
    Path,
    Pulled,
    Source,
    Stated,
    Term,
    Variable,
    shape_of,
    wrong,
)
from factstore.schema.classes import is_shape
from factstore.values.quoting import quoted
from factstore.values.types import Keyword, Symbol

T = TypeVar("T")
ANY: Final[Any] = Symbol("_")


def entity(shape: type[T], name: str | None = None, *, source: Source | None = None) -> T:
    """Return a variable for an entity that a dataclass describes: its fields are the entity's attributes.

    Args:
        name: what the variable is called in text; without one it is called like the class.
    """
    if not is_shape(shape):
        raise wrong(f"expected a dataclass, got {quoted(shape)}", got=shape)
    return cast("T", Entity(shape, name, source))


def var(kind: type[T], name: str | None = None) -> T:
    """Return a variable for values of a type."""
    return cast("T", Variable(name))


def source(name: str) -> Source:
    """Return a source beside the first, which is `$`: another database, or a collection of tuples."""
    return Source(name)


def eid(of: object) -> int:
    """Return the id of an entity."""
    return cast("int", _term(of, Entity | Path, "eid(…) takes an entity"))


def each(values: Iterable[T]) -> T:
    """Return any one of the values of an attribute that has many."""
    return cast("T", _term(values, Path, "each(…) takes an attribute with many values"))


def some(value: T | None) -> T:
    """Return a value that an entity may not have: where it has none, what speaks of it does not hold."""
    return cast("T", _term(value, Path, "some(…) takes an attribute"))


def missing(value: object) -> bool:
    """Return the condition that an entity has no value of an attribute."""
    return cast("bool", Calculated("missing?", (), _path(value, "missing(…) takes an attribute")))


def get_else(value: T | None, default: T) -> T:
    """Return the value of an attribute, or another where there is none."""
    return cast("T", Calculated("get-else", (default,), _path(value, "get_else(…) takes an attribute")))


def fact(*terms: Any, source: Source | None = None) -> bool:
    """Return the pattern `[e a v tx op]` over facts, or one over tuples of any width; `ANY` stands for anything.

    Attributes are texts with a colon: `fact(p, ":person/name", n, tx)`.
    """
    places = tuple(
        Keyword(term) if i == 1 and type(term) is str and term.startswith(":") else term for i, term in enumerate(terms)
    )
    if not places:
        raise wrong("a fact needs at least one place")
    return cast("bool", Stated(places, source))


def and_(*conditions: bool) -> bool:
    """Return the condition that all of these hold."""
    return cast("bool", Compound("and", conditions))


def or_(*conditions: bool) -> bool:
    """Return the condition that any of these holds; what only one of them speaks of stays inside it."""
    return cast("bool", Compound("or", conditions))


def not_(*conditions: bool) -> bool:
    """Return the condition that these do not all hold, whatever the variables are that nothing outside speaks of."""
    return cast("bool", Compound("not", conditions))


def apply(function: Callable[..., T], *args: Any) -> T:
    """Return what a callable of Python returns for each row; as a condition, that this is true.

    A query with callables needs them as inputs, so its text alone does not run.
    """
    return cast("T", Calculated(function, args))


def call(kind: type[T], function: str, *args: Any) -> T:
    """Return what a function of the query language, or a registered one, returns: `call(str, "name", p.role)`."""
    return cast("T", Calculated(function, args))


def named(term: T, name: str) -> T:
    """Return a column of the answer under a name, for `having`, `order_by` and the names of columns."""
    return cast("T", Named(term, Variable(name)))


def desc(key: Any) -> Any:
    """Return a key of `order_by` that puts the greatest first."""
    return Descending(key)


def many(*variables: Any) -> Any:
    """Return an input of many values, or of many tuples when there are several variables."""
    if not variables:
        raise wrong("many(…) needs at least one variable")
    return Many(variables)


@overload
def pull(of: T) -> T: ...
@overload
def pull(of: object, pattern: Any) -> dict[Any, Any]: ...
def pull(of: Any, pattern: Any = None) -> Any:
    """Return what is pulled of an entity: an instance of its class, or what a pattern finds as a dict."""
    _term(of, Entity | Path | Variable, "pull(…) takes an entity")
    if pattern is None and shape_of(of) is None:
        raise wrong("pull(…) of a variable without a class needs a pattern")
    if isinstance(pattern, str):
        from factstore import edn

        pattern = edn.read(pattern)
    return Pulled(of, pattern)


# -- aggregates


def count(term: object) -> int:
    """Return how many rows of a group there are."""
    return cast("int", Aggregated("count", (), term))


def count_distinct(term: object) -> int:
    """Return how many different values there are in a group."""
    return cast("int", Aggregated("count-distinct", (), term))


def sum_(term: T) -> T:
    """Return the sum of the values of a group."""
    return cast("T", Aggregated("sum", (), term))


def avg(term: float) -> float:
    """Return the mean of the values of a group."""
    return cast("float", Aggregated("avg", (), term))


def median(term: T) -> T:
    """Return the middle of the values of a group."""
    return cast("T", Aggregated("median", (), term))


def variance(term: float) -> float:
    """Return the variance of the values of a group, taken as all there are."""
    return cast("float", Aggregated("variance", (), term))


def stddev(term: float) -> float:
    """Return the standard deviation of the values of a group, taken as all there are."""
    return cast("float", Aggregated("stddev", (), term))


def min_(term: T) -> T:
    """Return the least value of a group."""
    return cast("T", Aggregated("min", (), term))


def max_(term: T) -> T:
    """Return the greatest value of a group."""
    return cast("T", Aggregated("max", (), term))


def least(n: int, term: T) -> tuple[T, ...]:
    """Return the n least values of a group."""
    return cast("tuple[T, ...]", Aggregated("min", (n,), term))


def greatest(n: int, term: T) -> tuple[T, ...]:
    """Return the n greatest values of a group."""
    return cast("tuple[T, ...]", Aggregated("max", (n,), term))


def sample(n: int, term: T) -> tuple[T, ...]:
    """Return up to n different values of a group."""
    return cast("tuple[T, ...]", Aggregated("sample", (n,), term))


def rand(term: T) -> T:
    """Return any value of a group."""
    return cast("T", Aggregated("rand", (), term))


def distinct(term: T) -> frozenset[T]:
    """Return the different values of a group."""
    return cast("frozenset[T]", Aggregated("distinct", (), term))


def aggregate(function: Callable[[list[Any]], T], term: Any) -> T:
    """Return what a callable of Python returns for the list of the values of a group."""
    return cast("T", Aggregated(function, (), term))


def _term(thing: object, kinds: Any, message: str) -> Term:
    if not isinstance(thing, kinds):
        raise wrong(f"{message}, got {quoted(thing)}", got=thing)
    return cast("Term", thing)


def _path(thing: object, message: str) -> Path:
    return cast("Path", _term(thing, Path, message))
