"""Queries: Datalog over databases and plain collections.

    text or data → parse → check → inputs → solve, clause by clause, cheapest first → the shape that :find asks for

Reads databases through their views only. Law: the answer is that of nested loops over all facts, whatever the order of
clauses, the size of the data, and where it lies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar, overload

from factstore.errors import QueryError
from factstore.query.answer.assemble import answer, found, needs_set, pulled
from factstore.query.answer.cache import AnswerCache, key_of
from factstore.query.answer.explain import Explanation, explained
from factstore.query.answer.rows import Rows, RowSeq, names_of
from factstore.query.builder.built import Built
from factstore.query.guard import Event, Guard, guard_of
from factstore.query.language.ast import SCALAR, TUPLE, Query
from factstore.query.language.dialect import too_deep
from factstore.query.planning.context import Context
from factstore.query.prepare import inputs_of, kept, parsed, prepared, rules_among
from factstore.query.relations.relation import Relation
from factstore.query.run import solve
from factstore.query.stream import streamed
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
    timeout: float | None = None,
    max_rows: int | None = None,
    cancel: Event | None = None,
    cache: AnswerCache | None = None,
) -> R: ...
@overload
def q(
    query: Written,
    /,
    *inputs: Any,
    timeout: float | None = None,
    max_rows: int | None = None,
    cancel: Event | None = None,
    cache: AnswerCache | None = None,
) -> Any: ...
def q(
    query: Any,
    /,
    *inputs: Any,
    timeout: float | None = None,
    max_rows: int | None = None,
    cancel: Event | None = None,
    cache: AnswerCache | None = None,
) -> Any:
    """Return the answer of a query.

    Args:
        query: EDN text, a vector of it, or a map: `"[:find ?e :where [?e :person/name \\"Ann\\"]]"`; or one built in Python
            (`factstore.builder`).
        inputs: one for each place of `:in`, which is `$` unless the query says otherwise: a database or a collection of
            tuples for a source, rules for `%`, values for variables.
        timeout: seconds after which the query is stopped, as by its `:timeout`, which says milliseconds.
        max_rows: more rows than this at any step, the last included, stop the query.
        cancel: a `threading.Event` or its like; once it is set, by any thread, the query is stopped.
        cache: where answers are kept and looked for.
    Returns: for `:find ?a ?b` a set of tuples; with `:order-by`, or with `:with` and no aggregate, a list of them. Rows that only their
        types tell apart, (0,) and (0.0,), are both there, as tuples that compare by type (`factstore.exact`). For `[?a ...]` a list, for
        `[?a ?b]` a tuple or None, for `?a .` the value or None; with `:keys`, `:strs` or `:syms` dicts in the place of tuples.
    Raises: QueryError(:db.error/invalid-query, :db.error/insufficient-binding, :db.error/invalid-inputs,
        :db.error/unknown-attribute, :db.error/unknown-function, :db.error/unknown-rule, :db.error/unknown-source,
        :db.error/function-failed); QueryStopped(:db.error/query-timeout, :db.error/query-too-large, :db.error/query-cancelled).

    >>> q("[:find ?b . :in [[?a ?b]] ?a]", [[1, "one"], [2, "two"]], 2)
    'two'
    """
    try:
        known = parsed(query)
        if type(query) is not str:
            inputs = inputs_of(query, inputs)
        guard = guard_of(known.timeout, timeout, max_rows, cancel)
        if cache is not None:
            return _cached(query, known, inputs, guard, cache)
        context, relation = prepared(known, inputs, q if guard is None else _within(guard), guard)
        return answer(
            known,
            solve(context, known.clauses, relation, kept(known, relation), is_set=needs_set(known)),
            context,
            solve,
        )
    except RecursionError as error:
        raise too_deep(error) from error


def _cached(written: Any, query: Query, inputs: tuple[Any, ...], guard: Guard | None, cache: AnswerCache) -> Any:
    if not isinstance(cache, AnswerCache):
        raise QueryError(":db.error/invalid-inputs", f"cache is an AnswerCache, got {described(cache)}", cache=cache)
    key = key_of(written.form if isinstance(written, Built) else written, query, inputs, rules_among(query, inputs))
    if key is None:
        cache.passed += 1
        return _answer(query, inputs, guard)
    known, answer = cache.get(key)
    return answer if known else cache.put(key, _answer(query, inputs, guard))


def _answer(query: Query, inputs: tuple[Any, ...], guard: Guard | None) -> Any:
    context, relation = prepared(query, inputs, q if guard is None else _within(guard), guard)
    return answer(
        query, solve(context, query.clauses, relation, kept(query, relation), is_set=needs_set(query)), context, solve
    )


def _within(guard: Guard) -> Callable[..., Any]:
    """Return what the function `q` calls inside a query that is guarded."""

    def subquery(query: Any, /, *inputs: Any) -> Any:
        known = parsed(query)
        return _answer(known, inputs_of(query, inputs), guard_of(known.timeout, None, None, None, guard))

    return subquery


def _within_stack(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function turn a query that is nested too deep for Python's stack into an error of the family."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except RecursionError as error:
            raise too_deep(error) from error

    return guarded


@_within_stack
def rows(
    query: Any,
    /,
    *inputs: Any,
    timeout: float | None = None,
    max_rows: int | None = None,
    cancel: Event | None = None,
    stats: bool = False,
) -> Rows:
    """Return the answer of a query as columns: a sequence of tuples that is also a table for arrow, pandas, polars and notebooks.

    Args:
        stats: also keep what the query did, as `explain` shows it, in `explanation`.
    Returns: one row for each that `q` would return, whatever the shape of `:find`; columns are called by `:keys` or the like,
        by `(as element ?name)`, or by their variables. The other arguments are those of `q`.

    >>> rows("[:find ?a (as (sum ?n) ?total) :in [[?a ?n]] :order-by ?total]", [["x", 1], ["y", 5], ["x", 2]]).dicts()
    [{'a': 'x', 'total': 3}, {'a': 'y', 'total': 5}]
    """
    started = time.perf_counter()
    known = _single(parsed(query))
    guard = guard_of(known.timeout, timeout, max_rows, cancel)
    context, relation = prepared(
        known, inputs_of(query, inputs), q if guard is None else _within(guard), guard, [] if stats else None
    )
    result = _table(known, solve(context, known.clauses, relation, kept(known, relation)), context)
    if context.steps is not None:
        result.explanation = explained(context.steps, len(result), time.perf_counter() - started)
    return result


def _single(query: Query) -> Query:
    """Return a query for one tuple or one value as one for one row."""
    return (
        replace(query, limit=min(1, 1 if query.limit is None else query.limit))
        if query.shape in (SCALAR, TUPLE)
        else query
    )


def _table(query: Query, relation: Relation, context: Context) -> Rows:
    if not relation.size:
        return Rows.empty(names_of(query))
    return Rows(names_of(query), pulled(query, found(query, relation, context, solve), relation.constants, context))


@_within_stack
def qseq(
    query: Any,
    /,
    *inputs: Any,
    block: int = 1 << 16,
    timeout: float | None = None,
    max_rows: int | None = None,
    cancel: Event | None = None,
) -> RowSeq:
    """Return the answer of a query as an iterator over its rows, made block by block while they are taken.

    Memory holds what the query joins, one block of what comes out, and for an answer none of whose variables is bound before the
    last step, the answers given so far. Pulls are made for a block at a time. Aggregates and `:order-by` need all rows first.

    Args:
        block: about how many rows to make at once. The other arguments are those of `q`; a timeout counts from this call.
    Returns: an iterator over tuples, whatever the shape of `:find`; `blocks()` of it yields `Rows` instead.
    Source: Datomic API, qseq.

    >>> next(qseq("[:find ?x ?y :in [?x ...] [?y ...] :where [(< ?x ?y)]]", range(1000), range(1000)))
    (0, 1)
    """
    if type(block) is not int or block < 1:
        raise QueryError(
            ":db.error/invalid-inputs", f"block is a whole number from 1, got {described(block)}", block=block
        )
    known = _single(parsed(query))
    guard = guard_of(known.timeout, timeout, max_rows, cancel)
    context, relation = prepared(known, inputs_of(query, inputs), q if guard is None else _within(guard), guard)
    return RowSeq(names_of(known), _deep_enough(_blocks(known, relation, context, block)))


def _deep_enough(blocks: Iterator[Rows]) -> Iterator[Rows]:
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
        columns = found(plain, part, context, solve) if part.size else []
        size = columns[0].size if columns else 0
        for start in range(skip, size, block):
            end = min(start + block, size if left is None else start + left)
            left = None if left is None else left - (end - start)
            here = [column.take(slice(start, end)) for column in columns]
            yield Rows(names_of(query), pulled(query, here, part.constants, context))
            if left == 0:
                return
        skip = max(0, skip - size)


def explain(query: Any, /, *inputs: Any) -> Explanation:
    """Run a query and return the steps that it took: clauses in their order, access paths, estimated and real rows, and times.

    >>> print(explain("[:find ?x :in [?x ...] :where [(< ?x 2)]]", [1, 2, 3]).data[0].rows_out)
    1
    """
    explanation = rows(query, *inputs, stats=True).explanation
    assert explanation is not None
    return explanation
