"""Built queries: values that `q` accepts instead of text, with the type of their answer.

Law: parsing the text of a built query returns the same query.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, Self, TypeVar, overload

from factstore import edn
from factstore.query.builder.terms import wrong
from factstore.query.builder.writer import Additions, ClauseWriter, HavingWriter, joined, variables_in
from factstore.query.language.ast import COLLECTION, RELATION, SCALAR, TUPLE, Query
from factstore.query.language.query import parse_query
from factstore.rendering import html_record
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
    """A query built in Python; each method returns an extended copy. `R` is the type of its answer."""

    shape: str
    elements: tuple[Any, ...]
    conditions: tuple[Any, ...] = ()
    inputs: tuple[Any, ...] = ()
    withs: tuple[Any, ...] = ()
    conditions_after: tuple[Any, ...] = ()
    keys: tuple[Any, ...] = ()
    most: int | None = None
    skipped: int | None = None

    def _repr_html_(self) -> str:
        return html_record("Built query", {"query": self.to_edn()})

    def where(self, *conditions: bool) -> Self:
        """Return the query with more conditions; all must hold."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def takes(self, *inputs: Any) -> Self:
        """Return the query with inputs after `$`, in the order of the arguments of `q`.

        An input is a variable, a tuple of variables, `many(…)` or a source.
        """
        return replace(self, inputs=(*self.inputs, *inputs))

    def with_(self, *terms: Any) -> Self:
        """Return the query with terms that also distinguish rows, for aggregates.

        Without an aggregate, the answer is a list that can contain equal rows.
        """
        return replace(self, withs=(*self.withs, *terms))

    def having(self, *conditions: bool) -> Self:
        """Return the query with conditions on the columns of its answer."""
        return replace(self, conditions_after=(*self.conditions_after, *conditions))

    @overload
    def order_by(self: Built[list[T]], *keys: Any) -> Built[list[T]]: ...
    @overload
    def order_by(self: Built[Collection[T]], *keys: Any) -> Built[list[T]]: ...
    def order_by(self, *keys: Any) -> Any:
        """Return the query with an order by columns of its answer, which is then a list."""
        return replace(self, keys=(*self.keys, *keys))

    def limit(self, most: int) -> Self:
        """Return the query with a maximum number of rows."""
        return replace(self, most=most)

    def offset(self, skipped: int) -> Self:
        """Return the query with a number of rows to skip."""
        return replace(self, skipped=skipped)

    # -- for other readers

    def to_edn(self) -> str:
        """Return the text of the query. Inputs that the builder adds, `%` and callables, are the last in `:in`."""
        return edn.write(self.form)

    def rules_edn(self) -> str:
        """Return the text of the rules that the query calls."""
        return edn.write(self._written[2])

    @property
    def form(self) -> list[Any]:
        """The query as the EDN reader returns it from the text."""
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
        additions = Additions(frozenset())
        self._write(additions)  # the first pass collects the names that the caller chose
        additions = Additions(frozenset(additions.chosen))
        form = self._write(additions)
        rules = [definition for definitions in additions.rules.values() for definition in definitions]
        return form, (*([rules] if rules else []), *additions.inputs.values()), rules

    def _write(self, additions: Additions) -> list[Any]:
        writer = ClauseWriter(additions)
        elements = [writer.element(each) for each in self.elements]
        in_find = variables_in(elements)
        withs = [term for term in dict.fromkeys(writer.term(each) for each in self.withs) if term not in in_find]
        inputs = [writer.input(each) for each in self.inputs]
        writer.conditions(self.conditions)
        after = HavingWriter(additions, writer)
        after.conditions(self.conditions_after)
        keys = [writer.key(each) for each in self.keys]
        outside = variables_in([*elements, *withs, *inputs])
        last = [*([Symbol("%")] if additions.rules else []), *additions.inputs]
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
    """Return a query for tuples: a set, or a list if the query has an order or pulls."""
    if not elements:
        raise wrong("a query finds at least one element")
    return Built(RELATION, elements)


def find_each(element: A, /) -> Built[list[A]]:
    """Return a query for the distinct values of one column, as a list."""
    return Built(COLLECTION, (element,))


def find_row(*elements: Any) -> Built[tuple[Any, ...] | None]:
    """Return a query for one tuple; its answer is None when there is none."""
    if not elements:
        raise wrong("a query finds at least one element")
    return Built(TUPLE, elements)


def find_value(element: A, /) -> Built[A | None]:
    """Return a query for one value; its answer is None when there is none."""
    return Built(SCALAR, (element,))
