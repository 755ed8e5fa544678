"""Queries: Datalog over databases and plain collections.

    text or data → parse → check → inputs → solve, clause by clause, cheapest first → the shape that :find requests

Databases are read only through their views. Law: the answer is that of nested loops over all facts; it does not depend
on the order of the clauses, the size of the data, or where the data is stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar, overload

from factstore.errors import QueryError
from factstore.query.answer.assemble import answer, answer_columns, needs_set, pulled
from factstore.query.answer.cache import AnswerCache, key_of
from factstore.query.answer.explain import Explanation, explained
from factstore.query.answer.rows import Rows, RowSeq, names_of
from factstore.query.builder.built import Built
from factstore.query.guard import CancelFlag, Guard, guard_of
from factstore.query.language.ast import SCALAR, TUPLE, Query
from factstore.query.language.dialect import too_deep
from factstore.query.planning.context import Context
from factstore.query.prepare import inputs_of, kept, parsed, prepared, rules_among
from factstore.query.relations.relation import Relation
from factstore.query.run import solve
from factstore.query.stream import streamed
from factstore.values.moments import Duration
from factstore.values.quoting import described

__all__ = ["AnswerCache", "Explanation", "RowSeq", "Rows", "explain", "q", "qseq", "rows"]

R = TypeVar("R")
P = ParamSpec("P")
Written: TypeAlias = str | Sequence[Any] | Mapping[Any, Any]  # a query as text or data


@overload
def q(
    query: Built[R],
    /,
    *inputs: Any,
    timeout: Duration | None = None,
    max_rows: int | None = None,
    cancel: CancelFlag | None = None,
    cache: AnswerCache | None = None,
) -> R: ...
@overload
def q(
    query: Written,
    /,
    *inputs: Any,
    timeout: Duration | None = None,
    max_rows: int | None = None,
    cancel: CancelFlag | None = None,
    cache: AnswerCache | None = None,
) -> Any: ...
def q(
    query: Any,
    /,
    *inputs: Any,
    timeout: Duration | None = None,
    max_rows: int | None = None,
    cancel: CancelFlag | None = None,
    cache: AnswerCache | None = None,
) -> Any:
    """Return the answer of a query.

    Args:
        query: EDN text, a vector or a map: `"[:find ?e :where [?e :person/age 7]]"`; or a query of `factstore.builder`.
        inputs: one for each part of `:in`, which is `$` by default: a database or tuples, rules for `%`, or values.
        timeout: seconds, or a text such as "30s", until the query is stopped; `:timeout` in the query: milliseconds.
        max_rows: the query is stopped if a step, or the answer, has more rows.
        cancel: a `threading.Event` or a similar object; when any thread sets it, the query is stopped.
        cache: stores answers and returns them again.
    Returns: for `:find ?a ?b` a set of tuples; a list with `:order-by`, or with `:with` and no aggregate. Rows that
        differ only in types, (0,) and (0.0,), are different tuples (`factstore.exact`). For `[?a ...]` a list, for
        `[?a ?b]` a tuple or None, for `?a .` a value or None. With `:keys`, `:strs` or `:syms` dicts replace tuples.
    Raises: QueryError(:db.error/invalid-query, :db.error/insufficient-binding, :db.error/invalid-inputs,
        :db.error/unknown-attribute, :db.error/unknown-function, :db.error/unknown-rule, :db.error/unknown-source,
        :db.error/function-failed); QueryStopped(:db.error/query-timeout, :db.error/query-too-large,
        :db.error/query-cancelled).

    >>> q("[:find ?b . :in [[?a ?b]] ?a]", [[1, "one"], [2, "two"]], 2)
    'two'
    """
    try:
        typed = parsed(query)
        inputs = inputs if type(query) is str else inputs_of(query, inputs)
        guard = guard_of(typed.timeout, timeout, max_rows, cancel)
        if cache is not None:
            return _cached(query, typed, inputs, guard, cache)
        context, relation = prepared(typed, inputs, q if guard is None else _within(guard), guard)
        solved = solve(context, typed.clauses, relation, kept(typed, relation), is_set=needs_set(typed))
        return answer(typed, solved, context, solve)
    except RecursionError as error:
        raise too_deep(error) from error


def _cached(written: Any, query: Query, inputs: tuple[Any, ...], guard: Guard | None, cache: AnswerCache) -> Any:
    if not isinstance(cache, AnswerCache):
        raise QueryError(":db.error/invalid-inputs", f"cache is an AnswerCache, got {described(cache)}", cache=cache)
    key = key_of(written.form if isinstance(written, Built) else written, query, inputs, rules_among(query, inputs))
    if key is None:
        cache.passed += 1
        return _answer(query, inputs, guard)
    is_cached, cached = cache.get(key)
    return cached if is_cached else cache.put(key, _answer(query, inputs, guard))


def _answer(query: Query, inputs: tuple[Any, ...], guard: Guard | None) -> Any:
    context, relation = prepared(query, inputs, q if guard is None else _within(guard), guard)
    solved = solve(context, query.clauses, relation, kept(query, relation), is_set=needs_set(query))
    return answer(query, solved, context, solve)


def _within(guard: Guard) -> Callable[..., Any]:
    """Return the function that `q` calls inside a query with limits."""

    def subquery(query: Any, /, *inputs: Any) -> Any:
        typed = parsed(query)
        return _answer(typed, inputs_of(query, inputs), guard_of(typed.timeout, None, None, None, guard))

    return subquery


def _within_stack(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function raise QueryError for a query that is nested too deep for Python's stack."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except RecursionError as error:
            raise too_deep(error) from error

    return guarded


@overload
def rows(
    query: Any,
    /,
    *inputs: Any,
    into: type[R],
    timeout: Duration | None = None,
    max_rows: int | None = None,
    cancel: CancelFlag | None = None,
    stats: bool = False,
) -> list[R]: ...
@overload
def rows(
    query: Any,
    /,
    *inputs: Any,
    into: None = None,
    timeout: Duration | None = None,
    max_rows: int | None = None,
    cancel: CancelFlag | None = None,
    stats: bool = False,
) -> Rows: ...
@_within_stack
def rows(
    query: Any,
    /,
    *inputs: Any,
    into: Any = None,
    timeout: Duration | None = None,
    max_rows: int | None = None,
    cancel: CancelFlag | None = None,
    stats: bool = False,
) -> Any:
    """Return the answer of a query as columns: a sequence of tuples that is also a table for data frames and notebooks.

    Arrow, pandas and polars can read the table. The other arguments are those of `q`.

    Args:
        into: a class; return a list of objects of it instead, as `Rows.into` does.
        stats: also store the steps of the query in `explanation`, as `explain` shows them.
    Returns: one row for each row of the answer, for any shape of `:find`; columns are named by `:keys`, `:strs` or
        `:syms`, by `(as element ?name)`, or by their variables.

    >>> rows("[:find ?a (as (sum ?n) ?total) :in [[?a ?n]] :order-by ?total]", [["x", 1], ["y", 5], ["x", 2]]).dicts()
    [{'a': 'x', 'total': 3}, {'a': 'y', 'total': 5}]
    """
    started = time.perf_counter()
    typed = _single(parsed(query))
    guard = guard_of(typed.timeout, timeout, max_rows, cancel)
    context, relation = prepared(
        typed, inputs_of(query, inputs), q if guard is None else _within(guard), guard, [] if stats else None
    )
    result = _table(typed, solve(context, typed.clauses, relation, kept(typed, relation)), context)
    if context.steps is not None:
        result.explanation = explained(context.steps, len(result), time.perf_counter() - started)
    return result if into is None else result.into(into)


def _single(query: Query) -> Query:
    """Return a query for one tuple or one value as a query for at most one row."""
    if query.shape not in (SCALAR, TUPLE):
        return query
    return replace(query, limit=1 if query.limit is None else min(1, query.limit))


def _table(query: Query, relation: Relation, context: Context) -> Rows:
    if not relation.size:
        return Rows.empty(names_of(query))
    return Rows(
        names_of(query), pulled(query, answer_columns(query, relation, context, solve), relation.constants, context)
    )


@_within_stack
def qseq(
    query: Any,
    /,
    *inputs: Any,
    block: int = 1 << 16,
    timeout: Duration | None = None,
    max_rows: int | None = None,
    cancel: CancelFlag | None = None,
) -> RowSeq:
    """Return the answer of a query as an iterator over its rows, computed block by block.

    Memory use: the joined intermediate result, one block of the answer and, only if no variable of the answer is bound
    before the last step, all rows returned so far (to remove duplicates). Pulls run for one block at a time. Aggregates
    and `:order-by` need all rows first.

    Args:
        block: the approximate number of rows in a block. The other arguments are those of `q`; a timeout begins at this
            call.
    Returns: an iterator over tuples, for any shape of `:find`; its `blocks()` yields `Rows` instead.
    Source: Datomic API, qseq.

    >>> next(qseq("[:find ?x ?y :in [?x ...] [?y ...] :where [(< ?x ?y)]]", range(1000), range(1000)))
    (0, 1)
    """
    if type(block) is not int or block < 1:
        raise QueryError(
            ":db.error/invalid-inputs", f"block is a whole number from 1, got {described(block)}", block=block
        )
    typed = _single(parsed(query))
    guard = guard_of(typed.timeout, timeout, max_rows, cancel)
    context, relation = prepared(typed, inputs_of(query, inputs), q if guard is None else _within(guard), guard)
    return RowSeq(names_of(typed), _checked_depth(_blocks(typed, relation, context, block)))


def _checked_depth(blocks: Iterator[Rows]) -> Iterator[Rows]:
    try:
        yield from blocks
    except RecursionError as error:
        raise too_deep(error) from error


def _blocks(query: Query, relation: Relation, context: Context, block: int) -> Iterator[Rows]:
    keep = kept(query, relation)
    if query.order or query.aggregates:
        parts, plain = iter((solve(context, query.clauses, relation, keep),)), query
    else:
        parts = streamed(context, query.clauses, relation, keep, block)
        plain = replace(query, limit=None, offset=0)
    skip, left = query.offset if plain is not query else 0, query.limit if plain is not query else None
    for part in parts:
        columns = answer_columns(plain, part, context, solve) if part.size else []
        size = columns[0].size if columns else 0
        for start in range(skip, size, block):
            end = min(start + block, size if left is None else start + left)
            left = None if left is None else left - (end - start)
            taken = [column.take(slice(start, end)) for column in columns]
            yield Rows(names_of(query), pulled(query, taken, part.constants, context))
            if left == 0:
                return
        skip = max(0, skip - size)


def explain(query: Any, /, *inputs: Any) -> Explanation:
    """Run a query and return its steps in order: clauses, access paths, estimated and real numbers of rows, and times.

    >>> print(explain("[:find ?x :in [?x ...] :where [(< ?x 2)]]", [1, 2, 3]).data[0].rows_out)
    1
    """
    explanation = rows(query, *inputs, stats=True).explanation
    assert explanation is not None
    return explanation
