"""Queries over the attributes of a schema.

    patterns ──► comparisons, `not` and `or` clauses of the variables that they bind ──► a find of these variables

Law: `factstore.q` answers each query on a database of the schema with the rows of the naive evaluator.
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from factstore.db.database import Database
from factstore.errors import QueryError
from factstore.query.analysis.program import compile_rules
from factstore.query.language.query import parse_query
from factstore.schema.attribute import Attribute
from factstore.testing.naive.transactions import modelled
from factstore.testing.strategies.schemas import Schema, database_of
from factstore.testing.strategies.values import few_of
from factstore.values.types import Keyword, Symbol

_VARIABLES: Final = [Symbol(name) for name in ("?a", "?b", "?c", "?d")]
_BLANK: Final = Symbol("_")
_COMPARISONS: Final = [Symbol(name) for name in ("=", "not=", "!=")]
_AGGREGATES: Final = [Symbol(name) for name in ("count", "count-distinct")]


def queries(schema: Schema, *, max_clauses: int = 4) -> SearchStrategy[list[Any]]:
    """Return a strategy for queries on a database, as Python data for `factstore.q`.

    They join patterns over the attributes of the schema by few variables, with comparisons, `not` and `or` clauses, and
    find variables and counts.

    Args:
        schema: tx-data that declares attributes; or a database, whose entities and values are then used, too.
        max_clauses: the maximum number of patterns, and of other clauses.
    """
    return _queries(database_of(schema), max_clauses).filter(_is_valid)


@st.composite
def _queries(draw: DrawFn, db: Database, max_clauses: int) -> list[Any]:
    patterns = _patterns(db)
    clauses = draw(st.lists(patterns, min_size=1, max_size=max_clauses))
    bound = sorted({term for clause in clauses for term in clause if term in _VARIABLES})
    if not bound:
        bound, clauses = [_VARIABLES[0]], [[_VARIABLES[0], clauses[0][1]], *clauses]
    variables = st.sampled_from(bound)
    others: list[SearchStrategy[Any]] = [_comparisons(variables), _negations(patterns), _disjunctions(patterns)]
    clauses += draw(st.lists(st.one_of(others), max_size=max_clauses // 2))
    found = draw(st.lists(variables, min_size=1, max_size=3, unique=True))
    if draw(st.booleans()):
        found.append((draw(st.sampled_from(_AGGREGATES)), draw(variables)))
    return [Keyword(":find"), *found, Keyword(":where"), *draw(st.permutations(clauses))]


def _patterns(db: Database) -> SearchStrategy[list[Any]]:
    attributes = [a for a in modelled(db) if not a.is_tuple]
    entities = sorted({datom.e for a in attributes for datom in db.datoms("aevt", a.id)})
    terms = st.sampled_from(_VARIABLES) | st.sampled_from([_BLANK, *entities])

    def values(attribute: Attribute) -> SearchStrategy[Any]:
        if attribute.is_ref:
            return terms
        return st.sampled_from(_VARIABLES) | st.just(_BLANK) | few_of(attribute)

    return st.sampled_from(attributes).flatmap(
        lambda a: st.tuples(terms, st.just(a.ident), values(a)).map(list) | st.tuples(terms, st.just(a.ident)).map(list)
    )


def _comparisons(variables: SearchStrategy[Any]) -> SearchStrategy[list[Any]]:
    return st.tuples(st.sampled_from(_COMPARISONS), variables, variables | st.integers(0, 2)).map(lambda call: [call])


def _negations(patterns: SearchStrategy[list[Any]]) -> SearchStrategy[tuple[Any, ...]]:
    return patterns.map(lambda pattern: (Symbol("not"), pattern))


def _disjunctions(patterns: SearchStrategy[list[Any]]) -> SearchStrategy[tuple[Any, ...]]:
    return st.tuples(patterns, patterns).map(lambda pair: (Symbol("or"), *pair))


def _is_valid(query: list[Any]) -> bool:
    """Return whether variables are bound where they must be, and the branches of each `or` have the same."""
    try:
        parsed = parse_query(query)
        compile_rules(()).scopes.check(parsed.clauses, frozenset(), parsed.names)
    except QueryError:
        return False
    return True
