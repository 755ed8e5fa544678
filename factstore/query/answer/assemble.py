"""The answer: turns the relation of the clauses into the shape that `:find` requests.

    rows, each once → groups and their aggregates → having → order, offset and limit → pulled maps → the requested shape

A relation becomes a set of tuples. It becomes a list if it is ordered, if `:with` keeps equal rows apart, or if it
contains pulled maps, which Python cannot hash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from factstore import registry
from factstore.errors import FactStoreError, QueryError
from factstore.query.answer.ordering import ordered
from factstore.query.answer.sets import set_of_rows
from factstore.query.functions.aggregates import AGGREGATES, GROUPED, aggregated
from factstore.query.functions.scalar import FUNCTIONS, plain_name
from factstore.query.guard import Guard
from factstore.query.language.ast import (
    COLLECTION,
    RELATION,
    SCALAR,
    TUPLE,
    Aggregate,
    Constant,
    Element,
    PullExpression,
    Query,
    Variable,
)
from factstore.query.language.dialect import invalid, nearest, shown
from factstore.query.planning.context import Context, Solve
from factstore.query.relations import algebra
from factstore.query.relations.relation import Column, Ints, Relation, frozen
from factstore.reads.pull import pull_many
from factstore.values.quoting import did_you_mean

_VECTORS_PAY = 256  # rows
_PULLED_AT_ONCE: Final = 1024  # entities between two checks of the guard
_ROW: Final = "?(row)"  # numbers the rows of an answer
_BLIND_TO_REPEATS: Final = frozenset(("min", "max", "count-distinct", "distinct", "set"))


def check_find(query: Query, context: Context) -> None:
    """Raise QueryError for an unknown aggregate and for a missing source."""
    for element in query.elements:
        if isinstance(element, Aggregate) and not element.function.startswith("?"):
            _function(element)
        elif isinstance(element, PullExpression):
            context.source(element.source, element.form)


def needs_set(query: Query) -> bool:
    """Tell whether repeated rows change the answer; they do not change aggregates such as `max` and `distinct`."""
    aggregates = [element for element in query.elements if isinstance(element, Aggregate)]
    if not aggregates or query.having:
        return True
    return any(element.args or element.function not in _BLIND_TO_REPEATS for element in aggregates)


def answer(query: Query, relation: Relation, context: Context, solve: Solve) -> Any:
    """Return the answer of a query."""
    if not relation.size:
        return shaped(query, [[] for _ in query.elements])
    columns = answer_columns(query, relation, context, solve)
    if query.pulls:
        columns = pulled(query, columns, relation.constants, context)
    elif query.shape == RELATION and query.keys is None and not query.order and not query.is_bag:
        return _hashed(columns)
    return shaped(query, [column.values() for column in columns])


def answer_columns(query: Query, relation: Relation, context: Context, solve: Solve) -> list[Column]:
    """Return the columns of the answer, with entities instead of pulled maps: pulls are made last, for few rows."""
    if query.aggregates:
        columns = _aggregates(query, relation, context)
    else:
        columns = [_plain(element, relation) for element in query.elements]
    if query.having:
        kept = _having(query, columns, relation.constants, context, solve)
        columns = [column.take(kept) for column in columns]
    if query.order:
        which = ordered(columns, query.order, None if query.limit is None else query.offset + query.limit)
        columns = [column.take(which) for column in columns]
    if query.offset or query.limit is not None:
        cut = slice(query.offset, None if query.limit is None else query.offset + query.limit)
        columns = [column.take(cut) for column in columns]
    return columns


def _having(query: Query, columns: list[Column], inputs: dict[str, Any], context: Context, solve: Solve) -> list[int]:
    """Return the numbers of the rows of the answer for which the conditions hold; the rows themselves can be equal."""
    size = columns[0].size
    named = dict(zip(query.columns, columns, strict=True))
    constants = {name: value for name, value in inputs.items() if name not in named}
    rows = Relation(size, {**named, _ROW: Column(int, np.arange(size))}, constants, distinct=True)
    return sorted(solve(context, query.having, rows, frozenset((_ROW,))).column(_ROW).values())


def _plain(element: Element, relation: Relation) -> Column:
    column = relation.columns.get(element.name)
    return Column(object, [frozen(relation.constants[element.name])] * relation.size) if column is None else column


def pulled(query: Query, columns: list[Column], constants: dict[str, Any], context: Context) -> list[Column]:
    """Return the columns of the answer with pulled maps instead of entities."""
    return [
        _pulled(element, column, constants, context) if isinstance(element, PullExpression) else column
        for element, column in zip(query.elements, columns, strict=True)
    ]


def _pulled(element: PullExpression, column: Column, constants: dict[str, Any], context: Context) -> Column:
    source = context.source(element.source, element.form).value
    if not hasattr(source, "view"):
        raise invalid(f"pull needs a database, {element.source} is none", element.form)
    pattern = element.pattern
    if isinstance(pattern, Variable):
        pattern = _constant(pattern, constants, element.form)
    entities = column.values()
    if context.guard is None:
        return Column(object, list(pull_many(source, pattern, entities)))
    maps: list[Any] = []
    for start in range(0, len(entities), _PULLED_AT_ONCE):
        context.guard.check()
        maps += pull_many(source, pattern, entities[start : start + _PULLED_AT_ONCE])
    return Column(object, maps)


def _constant(term: Variable | Constant, constants: dict[str, Any], form: Any) -> Any:
    if isinstance(term, Constant):
        return term.value
    if term.name not in constants:
        raise invalid(f"{term.name} must be an input of one value", form)
    return constants[term.name]


# -- aggregates


def _function(element: Aggregate) -> Callable[..., Any]:
    function = AGGREGATES.get(element.function) or registry.lookup(element.function)
    if function is None and element.function.startswith(
        "clojure."
    ):  # a function of collections, given all values of a group
        function = FUNCTIONS.get(plain_name(element.function))
    if function is None:
        near = nearest(element.function, AGGREGATES) or registry.nearest(element.function)
        raise QueryError(
            ":db.error/unknown-function",
            f"no aggregate {element.function} is built in or registered{did_you_mean(near)}, in {shown(element.form)}",
            function=element.function,
            nearest=near,
            form=element.form,
        )
    return function


def _aggregates(query: Query, relation: Relation, context: Context) -> list[Column]:
    names = [element.name for element in query.elements if not isinstance(element, Aggregate)]
    groups, firsts = _groups(relation, names)
    heads = relation.take(firsts, len(firsts)) if relation.columns else relation
    columns = []
    for element in query.elements:
        if isinstance(element, Aggregate):
            columns.append(_aggregate(element, relation, groups, len(firsts), context.guard))
        else:
            columns.append(_plain(element, heads))
    return columns


def _groups(relation: Relation, names: list[str]) -> tuple[Ints, Any]:
    """Return for each row the number of its group, and for each group its first row."""
    columns = [relation.columns[name] for name in names if name in relation.columns]
    if not columns:
        return np.zeros(relation.size, np.int64), [0]
    if relation.size >= _VECTORS_PAY:
        return algebra.grouped(columns)
    numbers: dict[Any, int] = {}
    firsts: list[int] = []
    groups = []
    for i, key in enumerate(zip(*(column.keys() for column in columns), strict=True)):
        group = numbers.setdefault(key, len(numbers))
        if group == len(firsts):
            firsts.append(i)
        groups.append(group)
    return np.array(groups, np.int64), firsts


def _aggregate(element: Aggregate, relation: Relation, groups: Ints, count: int, guard: Guard | None) -> Column:
    column = relation.column(element.name)
    try:
        if not element.args and relation.size >= _VECTORS_PAY and element.function in GROUPED:
            values = GROUPED[element.function](column, groups, count)
            if values is not None:
                return values
        args = [_constant(term, relation.constants, element.form) for term in element.args]  # type: ignore[arg-type]
        function = _given(element, relation) if element.function.startswith("?") else _function(element)
        return aggregated(function if guard is None else guard.around(function), args, column, groups, count)
    except FactStoreError:
        raise
    except Exception as error:
        raise QueryError(
            ":db.error/function-failed",
            f"{element.function} failed with {type(error).__name__}: {error}, in {shown(element.form)}",
            function=element.function,
            error=str(error),
            form=element.form,
        ) from error


def _given(element: Aggregate, relation: Relation) -> Callable[..., Any]:
    function = relation.constants.get(element.function)
    if not callable(function):
        raise QueryError(
            ":db.error/invalid-inputs",
            f"{element.function} must be a callable, got {shown(function)}, in {shown(element.form)}",
            form=element.form,
        )
    return function  # type: ignore[no-any-return]


# -- rows


def shaped(query: Query, columns: list[list[Any]]) -> Any:
    """Return columns in the shape that `:find` requests."""
    if query.keys is not None:
        dicts = [dict(zip(query.keys, row, strict=True)) for row in zip(*columns, strict=True)]
        return dicts if query.shape == RELATION else dicts[0] if dicts else None
    if query.shape == COLLECTION:
        return list(columns[0])
    if query.shape == SCALAR:
        return columns[0][0] if columns[0] else None
    if query.shape == TUPLE:
        return tuple(column[0] for column in columns) if columns[0] else None
    return list(zip(*columns, strict=True)) if query.order or query.is_bag or columns[0] else set()


def _hashed(columns: list[Column]) -> Any:
    try:
        return set_of_rows(columns)
    except TypeError:  # an input or a result of a function that Python cannot hash
        return list(zip(*(column.values() for column in columns), strict=True))
