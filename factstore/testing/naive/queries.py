"""The answer of a query by the simplest evaluator that can be right: nested loops over a list of facts.

It has no columns and no plan. A fact is (e, a, v, tx, added), as users see it; an environment is a dict of variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from factstore.db.database import Database
from factstore.query.analysis.scope import Scopes
from factstore.query.functions.aggregates import AGGREGATES
from factstore.query.functions.scalar import FUNCTIONS, truthy
from factstore.query.language.ast import (
    Aggregate,
    Blank,
    Call,
    Clause,
    Constant,
    Not,
    Or,
    Pattern,
    Query,
    RuleCall,
    Variable,
    bound_by,
)
from factstore.query.language.clauses import Rules, parse_rules
from factstore.query.language.query import parse_query
from factstore.query.relations.relation import strict

Env = dict[str, Any]
Fact = tuple[Any, ...]


def naive_rows(query: Any, db: Database, rules: Any = ()) -> set[Any]:
    """Return the rows of a query on a database, each as a strict key, so that 1, 1.0 and True differ.

    Args:
        query: without inputs besides the database and rules, and of variables and aggregates in `:find` only.
    """
    idents = {str(attribute.ident): attribute.id for attribute in db.schema.attributes}
    facts = [tuple(datom) for datom in db.datoms("eavt")]
    return Naive({"$": facts}, idents, parse_rules(rules)).answer(parse_query(query), {})


class Naive:
    """The sources and rules of one query."""

    def __init__(self, sources: dict[str, list[Fact]], idents: dict[str, int], rules: Rules) -> None:
        self.sources, self.idents, self.rules = sources, idents, rules
        self.scopes = Scopes(rules)
        self.by_attribute: dict[Any, list[Fact]] = {}
        self.known: dict[str, set[Any]] = {name: set() for name in rules}
        self.rows: dict[str, list[Fact]] = {name: [] for name in rules}

    def answer(self, query: Query, env: Env) -> set[Any]:
        """Return the set of rows, each as strict keys."""
        self.close()
        names = [*(element.name for element in query.elements), *query.with_names]
        rows = {
            strict(row): row
            for row in (tuple(found[name] for name in names) for found in self.solve(query.clauses, env))
        }
        if any(isinstance(element, Aggregate) for element in query.elements):
            return {strict(row) for row in grouped(query, list(rows.values()))}
        return {strict(row[: len(query.elements)]) for row in rows.values()}

    def close(self) -> None:
        """Find all answers of all rules, from the bottom up, until no new one appears."""
        changed = True
        while changed:
            changed = False
            for name, rule in self.rules.items():
                for branch in rule.branches:
                    for env in list(self.solve(branch.clauses, {})):
                        row = tuple(env[parameter] for parameter in branch.parameters)
                        if strict(row) not in self.known[name]:
                            self.known[name].add(strict(row))
                            self.rows[name].append(row)
                            changed = True

    def solve(self, clauses: tuple[Clause, ...], env: Env) -> Iterator[Env]:
        """Yield every environment in which all clauses hold."""
        if not clauses:
            yield env
            return
        kinds = (Call, Pattern, RuleCall, Or, Not)
        clause = next(
            c for kind in kinds for c in clauses if isinstance(c, kind) and self.scopes.is_ready(c, frozenset(env))
        )
        rest = tuple(c for c in clauses if c is not clause)
        for found in self.step(clause, env):
            yield from self.solve(rest, found)

    def step(self, clause: Clause, env: Env) -> Iterator[Env]:
        """Yield every extension of an environment in which a clause holds."""
        if isinstance(clause, Pattern):
            yield from self._pattern(clause, env)
        elif isinstance(clause, RuleCall):
            for row in self.rows[clause.name]:
                yield from unify(clause.args, row, env)
        elif isinstance(clause, Or):
            inside = _only(clause.variables, env)
            for branch in clause.branches:
                for found in self.solve(branch, inside):
                    yield {**env, **{name: found[name] for name in clause.variables}}
        elif isinstance(clause, Not):
            names = clause.names if clause.names is not None else clause.variables
            if next(self.solve(clause.clauses, _only(names, env)), None) is None:
                yield env
        elif isinstance(clause, Call):
            yield from _called(clause, env)

    def _pattern(self, clause: Pattern, env: Env) -> Iterator[Env]:
        terms = [self.attribute(term) if i == 1 else term for i, term in enumerate(clause.terms)]
        facts = self.of_attribute(clause.source, terms[1]) if len(terms) > 1 else self.sources[clause.source]
        for fact in facts:
            yield from unify(terms, fact, env)

    def of_attribute(self, source: str, term: Any) -> list[Fact]:
        """Return the facts of a source whose attribute can be a term; only to save time."""
        key = source, strict(term.value) if isinstance(term, Constant) else None
        if key not in self.by_attribute:
            facts = self.sources[source]
            self.by_attribute[key] = facts if key[1] is None else [fact for fact in facts if strict(fact[1]) == key[1]]
        return self.by_attribute[key]

    def attribute(self, term: Any) -> Any:
        return (
            Constant(self.idents.get(term.value, term.value))
            if isinstance(term, Constant) and isinstance(term.value, str)
            else term
        )


def grouped(query: Query, rows: list[Fact]) -> Iterator[Fact]:
    """Yield a row for each group of rows that agree in all elements that are no aggregates."""
    groups: dict[Any, list[Fact]] = {}
    for row in rows:
        key = [row[i] for i, element in enumerate(query.elements) if not isinstance(element, Aggregate)]
        groups.setdefault(strict(key), []).append(row)
    for group in groups.values():
        yield tuple(
            AGGREGATES[element.function](
                *(term.value for term in element.args if isinstance(term, Constant)), [row[i] for row in group]
            )
            if isinstance(element, Aggregate)
            else group[0][i]
            for i, element in enumerate(query.elements)
        )


def _only(names: Iterable[str], env: Env) -> Env:
    return {name: env[name] for name in names if name in env}


def _called(clause: Call, env: Env) -> Iterator[Env]:
    result = FUNCTIONS[clause.function](*(_value_of(term, env) for term in clause.args))
    if clause.binding is None:
        yield from [env] if truthy(result) else []
    elif result is not None:
        (name,) = bound_by(clause.binding)
        yield from unify([Variable(name)], (result,), env)


def _value_of(term: Any, env: Env) -> Any:
    return term.value if isinstance(term, Constant) else env[term.name]


def unify(terms: Any, row: Fact, env: Env) -> Iterator[Env]:
    """Yield the environment with a row's values, if it agrees with them."""
    found = dict(env)
    for term, value in zip(terms, row, strict=False):
        wanted = (
            value
            if isinstance(term, Blank)
            else term.value
            if isinstance(term, Constant)
            else found.setdefault(term.name, value)
        )
        if strict(wanted) != strict(value):
            return
    yield found
