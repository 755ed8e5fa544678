"""Predicates and function clauses: they filter rows, or bind columns to the results of functions.

A function is called once for each row, or once for a whole column if `vectors` implements it; without a column among
its arguments it is called once. An exception in a function becomes a QueryError with a code, the clause and the
arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Any, Final

import numpy as np

from factstore import registry
from factstore.errors import FactStoreError, QueryError
from factstore.query.functions import vectors
from factstore.query.functions.scalar import FUNCTIONS, get_by_keyword, plain_name, truthy
from factstore.query.guard import Guard
from factstore.query.language.ast import BLANK, Blank, Call, Constant, SourceName, Variable
from factstore.query.language.dialect import nearest, shown
from factstore.query.planning.context import Context
from factstore.query.relations import algebra
from factstore.query.relations.relation import PLAIN, Column, Relation, column_of, empty, repeated
from factstore.query.sources.bindings import destructure
from factstore.query.sources.functions import LOOKUPS
from factstore.values.quoting import did_you_mean
from factstore.values.types import is_missing

_VECTORS_PAY = 64  # rows
_NEVER_MISSING: Final = (PLAIN - {type(None)}) | {tuple}  # types whose values are never missing


def check_call(call: Call, context: Context) -> None:
    """Raise QueryError(:db.error/unknown-function) when there is no such function."""
    if call.function == "q" or call.function.startswith("?") or call.function in LOOKUPS:
        return
    try:
        _function_named(call.function, call.form)
    except QueryError as error:
        if call.function not in context.program.rules:
            raise
        message = f"{call.function} is a rule, not a function: write {shown(call.form[0])} without the vector around it"
        raise QueryError(error.code, f"{message}, in {shown(call.form)}", **error.data) from None


def run_call(context: Context, call: Call, relation: Relation) -> Relation:
    """Return a relation after a predicate or a function clause."""
    args = [_argument(context, term, relation, call) for term in call.args]
    if call.binding is None:
        mask = _vector_mask(call, args, relation)
        if mask is not None:
            return relation.filter(mask)
    elif isinstance(call.binding, Variable) and relation.size >= _VECTORS_PAY:
        column = vectors.calculated(call.function, [_arrayed(arg) for arg in args])
        if column is not None:
            return _unified(relation, {call.binding.name: column})
    results = _results(context, call, args, relation)
    if len(results) != relation.size:  # one call for all rows
        return _bind_one(call, results[0], relation, context.guard)
    return _bind_each(call, results, relation, context.guard)


def _argument(context: Context, term: Any, relation: Relation, call: Call) -> Any:
    if isinstance(term, Constant):
        return term.value
    if isinstance(term, SourceName):
        return context.source(term.name, call.form).value
    return relation.columns[term.name] if term.name in relation.columns else relation.constants[term.name]


def _arrayed(arg: Any) -> Any:
    return Column(arg.kind, arg.array()) if isinstance(arg, Column) else arg


def _vector_mask(call: Call, args: list[Any], relation: Relation) -> Any:
    if relation.size < _VECTORS_PAY or not any(isinstance(arg, Column) for arg in args):
        return None
    mask = vectors.compared(call.function, [_arrayed(arg) for arg in args])
    if mask is None and call.function == "=" and len(args) == 2:
        column, other = args if isinstance(args[0], Column) else (args[1], args[0])
        if isinstance(other, Column):
            return algebra.equal_columns(column, other)
        return algebra.equal_to(column, other)
    return mask


def _results(context: Context, call: Call, args: list[Any], relation: Relation) -> list[Any]:
    """Return the result for each row, or one for all rows."""
    size = relation.size if any(isinstance(arg, Column) for arg in args) else 1
    lookup = LOOKUPS.get(call.function)
    try:
        if lookup is not None:
            database = call.args[:1] and isinstance(call.args[0], SourceName)
            columns = [
                arg if isinstance(arg, Column) or (i == 0 and database) else _spread(arg, size)
                for i, arg in enumerate(args)
            ]
            return lookup(columns, call.form)
        function = _function(context, call, relation)
        if context.guard is not None:
            function = context.guard.around(function)
        if size == 1 and not any(isinstance(arg, Column) for arg in args):
            return [function(*args)]
        lists = [arg.values() if isinstance(arg, Column) else repeat(arg, size) for arg in args]
        return list(map(function, *lists))
    except QueryError:
        raise
    except FactStoreError as error:
        raise QueryError(
            error.code, f"{error.message}, in {shown(call.form)}", **{**error.data, "form": call.form}
        ) from error
    except Exception as error:
        raise _failed(call, error) from error


def _spread(value: Any, size: int) -> Column:
    return repeated(value, size) if not hasattr(value, "tx_range") else Column(object, [value] * size)


def _function(context: Context, call: Call, relation: Relation) -> Any:
    if call.function == "q":
        return context.subquery
    if call.function.startswith("?"):
        function = relation.constants.get(call.function)
        if not callable(function):
            raise QueryError(
                ":db.error/invalid-inputs",
                f"the input for {call.function} must be a callable, got {shown(function)}, in {shown(call.form)}",
                form=call.form,
            )
        return function
    return _function_named(call.function, call.form)


def _function_named(name: str, form: Any) -> Callable[..., Any]:
    """Return the built-in or registered function of this name.

    Raises: QueryError(:db.error/unknown-function), with the nearest known names.
    """
    if name.startswith(":"):
        return partial(get_by_keyword, name)
    function = FUNCTIONS.get(plain_name(name)) or registry.lookup(name)
    if function is None:
        near = nearest(name, FUNCTIONS) or registry.nearest(name) or nearest(name, LOOKUPS)
        raise QueryError(
            ":db.error/unknown-function",
            f"no function {name} is built in or registered{did_you_mean(near)}, in {shown(form)}",
            function=name,
            nearest=near,
            form=form,
        )
    return function


def _failed(call: Call, error: Exception) -> QueryError:
    return QueryError(
        ":db.error/function-failed",
        f"{call.function} failed with {type(error).__name__}: {error}, in {shown(call.form)}",
        function=call.function,
        error=str(error),
        form=call.form,
    )


def _bind_one(call: Call, result: Any, relation: Relation, guard: Guard | None) -> Relation:
    """Bind one result for all rows."""
    binding = call.binding
    if binding is None:
        return relation if truthy(result) else empty(relation.names)
    if is_missing(result):
        return empty(relation.names | call.variables)
    if binding is BLANK:
        return relation
    if isinstance(binding, Variable):
        return algebra.join(
            relation, Relation(1, {}, {binding.name: tuple(result) if type(result) is range else result}, distinct=True)
        )
    parts = _destructured(call, [result], guard)
    size = len(parts.at)
    if size == 1:
        fixed = {name: column.values()[0] for name, column in parts.columns.items()}
        return algebra.join(relation, Relation(1, {}, fixed, distinct=True))
    bound = Relation(size, parts.columns, {}) if parts.columns else Relation(min(size, 1), {}, {}, distinct=True)
    return algebra.join(relation, bound) if size else empty(relation.names | call.variables)


def _bind_each(call: Call, results: list[Any], relation: Relation, guard: Guard | None) -> Relation:
    """Bind a result for each row."""
    binding = call.binding
    if binding is None:
        return relation.filter(list(map(truthy, results)))
    if isinstance(binding, Variable | Blank):
        kinds = set(map(type, results))
        if not kinds <= _NEVER_MISSING:
            kept = [not is_missing(result) for result in results]
            relation = relation.filter(kept)
            results = [result for result, is_kept in zip(results, kept, strict=True) if is_kept]
            kinds = set(map(type, results))
        if isinstance(binding, Blank):
            return relation
        return _unified(relation, {binding.name: column_of(results, kinds=kinds)})
    parts = _destructured(call, results, guard)
    if len(parts.at) == relation.size and parts.at == list(range(relation.size)):
        return _unified(relation, parts.columns)
    at: Any = parts.at if relation.size <= _VECTORS_PAY else np.array(parts.at, np.int64)
    return _unified(relation.take(at, len(parts.at), distinct=False), parts.columns)


def _destructured(call: Call, results: list[Any], guard: Guard | None) -> Any:
    try:
        assert call.binding is not None
        return destructure(call.binding, results, guard=guard)
    except ValueError as error:
        raise _failed(call, error) from error


def _unified(relation: Relation, columns: dict[str, Column]) -> Relation:
    """Bind columns of the relation's length; keep the rows that agree where a variable is already bound."""
    fresh = {name: column for name, column in columns.items() if not relation.binds(name)}
    repeated_names = [name for name in columns if name not in fresh]
    extended = relation.plus(fresh, distinct=relation.distinct)
    masks = []
    for name in repeated_names:
        if name in relation.constants:
            masks.append(np.asarray(algebra.equal_to(columns[name], relation.constants[name]), bool))
            continue
        masks.append(np.asarray(algebra.equal_columns(relation.columns[name], columns[name]), bool))
    return extended.filter(np.logical_and.reduce(masks)) if masks else extended
