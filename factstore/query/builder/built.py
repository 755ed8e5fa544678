"""Built queries: values that `q` takes in the place of text, with the type of their answer.

Law: the text of a built query is read as the query that it is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, Self, TypeVar, overload

from factstore import edn
from factstore.query.builder.terms import wrong
from factstore.query.builder.writer import Given, HavingWriter, Writer, joined, variables_in
from factstore.query.language.ast import COLLECTION, RELATION, SCALAR, TUPLE, Query
from factstore.query.language.query import parse_query
from factstore.values.types import Keyword, Symbol

R = TypeVar("R")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


@dataclass(frozen=True, eq=False)
class Built(Generic[R]):
    """A query built in Python; each method returns another with more in it. `R` is the type of its answer."""

    shape: str
    elements: tuple[Any, ...]
    conditions: tuple[Any, ...] = ()
    inputs: tuple[Any, ...] = ()
    withs: tuple[Any, ...] = ()
    conditions_after: tuple[Any, ...] = ()
    keys: tuple[Any, ...] = ()
    most: int | None = None
    skipped: int | None = None

    def where(self, *conditions: bool) -> Self:
        """Return the query with further conditions; all must hold."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def takes(self, *inputs: Any) -> Self:
        """Return the query with inputs after `$`: variables, tuples of them, `many(…)` or sources, in the order of `q`'s arguments."""
        return replace(self, inputs=(*self.inputs, *inputs))

    def with_(self, *terms: Any) -> Self:
        """Return the query with what else tells rows apart, for aggregates; without any, the answer is a list with equal rows in it."""
        return replace(self, withs=(*self.withs, *terms))

    def having(self, *conditions: bool) -> Self:
        """Return the query with conditions over the columns that it finds."""
        return replace(self, conditions_after=(*self.conditions_after, *conditions))

    @overload
    def order_by(self: Built[list[T]], *keys: Any) -> Built[list[T]]: ...
    @overload
    def order_by(self: Built[Collection[T]], *keys: Any) -> Built[list[T]]: ...
    def order_by(self, *keys: Any) -> Any:
        """Return the query with an order, by columns that it finds; its answer is then a list."""
        return replace(self, keys=(*self.keys, *keys))

    def limit(self, most: int) -> Self:
        """Return the query with a greatest number of rows."""
        return replace(self, most=most)

    def offset(self, skipped: int) -> Self:
        """Return the query with a number of rows to leave out first."""
        return replace(self, skipped=skipped)

    # -- as others read it

    def to_edn(self) -> str:
        """Return the text of the query. Inputs that the builder adds, `%` and callables, stand last in its `:in`."""
        return edn.write(self.form)

    def rules_edn(self) -> str:
        """Return the text of the rules that the query calls."""
        return edn.write(self._written[2])

    @property
    def form(self) -> list[Any]:
        """The query as the reader would return it from text."""
        return self._written[0]

    @property
    def bound(self) -> tuple[Any, ...]:
        """The inputs that the builder adds after those that the caller passes: rules, classes and callables."""
        return self._written[1]

    @cached_property
    def ast(self) -> Query:
        """The query in its typed form."""
        return parse_query(self.form)

    @cached_property
    def _written(self) -> tuple[list[Any], tuple[Any, ...], list[Any]]:
        given = Given(frozenset())
        self._write(given)  # once to see which names were chosen, once to choose others
        given = Given(frozenset(given.chosen))
        form = self._write(given)
        rules = [definition for definitions in given.rules.values() for definition in definitions]
        return form, (*([rules] if rules else []), *given.inputs.values()), rules

    def _write(self, given: Given) -> list[Any]:
        writer = Writer(given)
        elements = [writer.element(each) for each in self.elements]
        told_apart = variables_in(elements)  # by what is found
        withs = [term for term in dict.fromkeys(writer.term(each) for each in self.withs) if term not in told_apart]
        inputs = [writer.input(each) for each in self.inputs]
        writer.conditions(self.conditions)
        after = HavingWriter(given, writer)
        after.conditions(self.conditions_after)
        keys = [writer.key(each) for each in self.keys]
        outside = variables_in([*elements, *withs, *inputs])
        last = [*([Symbol("%")] if given.rules else []), *given.inputs]
        sections = {
            ":with": withs,
            ":in": [Symbol("$"), *inputs, *last] if inputs or last else [],
            ":where": joined(writer.clauses, outside),
            ":having": after.clauses,
            ":order-by": [part for key in keys for part in key],
            ":limit": [] if self.most is None else [self.most],
            ":offset": [] if self.skipped is None else [self.skipped],
        }
        form = [Keyword(":find"), *_shaped(self.shape, elements)]
        for name, parts in sections.items():
            if parts:
                form += [Keyword(name), *parts]
        return form


def _shaped(shape: str, elements: list[Any]) -> list[Any]:
    if shape == COLLECTION:
        return [[*elements, Symbol("...")]]
    if shape == TUPLE:
        return [elements]
    return [*elements, Symbol(".")] if shape == SCALAR else elements


@overload
def find(a: A, /) -> Built[Collection[tuple[A]]]: ...
@overload
def find(a: A, b: B, /) -> Built[Collection[tuple[A, B]]]: ...
@overload
def find(a: A, b: B, c: C, /) -> Built[Collection[tuple[A, B, C]]]: ...
@overload
def find(a: A, b: B, c: C, d: D, /) -> Built[Collection[tuple[A, B, C, D]]]: ...
@overload
def find(a: A, b: B, c: C, d: D, e: E, /) -> Built[Collection[tuple[A, B, C, D, E]]]: ...
@overload
def find(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, /, *more: Any) -> Built[Collection[tuple[Any, ...]]]: ...
def find(*elements: Any) -> Any:
    """Return a query for tuples: a set, or a list when it is ordered or pulls."""
    if not elements:
        raise wrong("a query finds at least one thing")
    return Built(RELATION, elements)


def find_each(element: A, /) -> Built[list[A]]:
    """Return a query for the different values of one column, as a list."""
    return Built(COLLECTION, (element,))


def find_row(*elements: Any) -> Built[tuple[Any, ...] | None]:
    """Return a query for one tuple, None when there is none."""
    if not elements:
        raise wrong("a query finds at least one thing")
    return Built(TUPLE, elements)


def find_value(element: A, /) -> Built[A | None]:
    """Return a query for one value, None when there is none."""
    return Built(SCALAR, (element,))
