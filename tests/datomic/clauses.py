"""Queries over the attributes of a case: joins of patterns, functions, `or`, `not`, rules and aggregates."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from factstore import Keyword, Symbol

ENTITIES: Final = tuple(map(Symbol, ("?e", "?f", "?g")))
SCALARS: Final = tuple(map(Symbol, ("?v", "?w", "?x")))
TX, OP, BLANK = Symbol("?t"), Symbol("?op"), Symbol("_")
COMPARISONS: Final = tuple(map(Symbol, ("=", "!=", "not=", "<", ">", "<=", ">=")))
AGGREGATES: Final = tuple(map(Symbol, ("count", "count-distinct", "distinct", "min", "max")))
FUNCTIONS: Final = tuple(map(Symbol, ("str", "identity", "vector", "pr-str", "hash-set")))


class _Query:
    """Strategies for the clauses of one query."""

    def __init__(self, draw: DrawFn, attributes: list[Any], values: dict[str, tuple[Any, ...]]) -> None:
        self._draw = draw
        self._attributes = attributes
        self._values = values
        self.kinds: dict[Any, str] = {}  # of the variables that patterns bind

    def pattern(self, *, bound_only: bool = False) -> list[Any]:
        """Draw a pattern; its variables are bound from now on, unless only bound ones are wanted."""
        attribute = self._draw(st.sampled_from(self._attributes))
        known = [v for v in ENTITIES if v in self.kinds]
        entity = self._draw(st.sampled_from(known if bound_only and known else ENTITIES))
        clause = [entity, Keyword(attribute.ident), self._value(attribute, bound_only)]
        self.kinds.setdefault(entity, "ref") if not bound_only else None
        if self._draw(st.integers(0, 7)) == 7 and not bound_only:
            self.kinds.setdefault(TX, "tx")
            clause.append(TX)
            if self._draw(st.booleans()):
                self.kinds.setdefault(OP, "boolean")
                clause.append(OP)
        return clause

    def _value(self, attribute: Any, bound_only: bool) -> Any:
        pool = ENTITIES if attribute.kind == "ref" else SCALARS
        same = [v for v in pool if self.kinds.get(v, attribute.kind) == attribute.kind and not (bound_only and v not in self.kinds)]
        choices: list[Any] = [*same, *same, BLANK]
        if attribute.kind in self._values:
            choices += self._values[attribute.kind][:3]
        value = self._draw(st.sampled_from(choices))
        if isinstance(value, Symbol) and value in pool and not bound_only:
            self.kinds[value] = attribute.kind
        return value

    def other(self) -> Any:
        """Draw a clause that uses bound variables."""
        kind = self._draw(
            st.sampled_from(("compare", "compare", "function", "not", "or", "or-join", "not-join", "missing", "get-else", "ground"))
        )
        variable = self._draw(st.sampled_from(sorted(self.kinds)))
        entities = [v for v in ENTITIES if v in self.kinds]
        entity, attribute = self._draw(st.sampled_from(entities)), self._draw(st.sampled_from(self._attributes))
        if kind == "compare":
            return [(self._draw(st.sampled_from(COMPARISONS)), variable, self._like(variable))]
        if kind == "function" and self.kinds[variable] not in ("ref", "tx"):  # the text of an id differs
            return [(self._draw(st.sampled_from(FUNCTIONS)), variable), Symbol("?made")]
        if kind == "not":
            return (Symbol("not"), self.pattern(bound_only=True))
        if kind == "or":
            return (Symbol("or"), *self._branches(entity))
        if kind == "or-join":
            return (Symbol("or-join"), [entity], *self._branches(entity))
        if kind == "not-join":
            return (Symbol("not-join"), [entity], [entity, Keyword(attribute.ident), Symbol("?inner")])
        if kind == "missing":
            return [(Symbol("missing?"), Symbol("$"), entity, Keyword(attribute.ident))]
        if kind == "get-else":
            return [
                (Symbol("get-else"), Symbol("$"), entity, Keyword(attribute.ident), self._draw(st.sampled_from((0, "none")))),
                Symbol("?else"),
            ]
        return [(Symbol("ground"), self._draw(st.sampled_from((1, "a", Keyword(":k/a"))))), Symbol("?ground")]

    def _branches(self, entity: Any) -> list[Any]:
        branches: list[Any] = []
        for _ in range(2):
            attribute = self._draw(st.sampled_from(self._attributes))
            constant = self._values.get(attribute.kind, (BLANK,))[0]
            branch: Any = [entity, Keyword(attribute.ident), self._draw(st.sampled_from((BLANK, constant)))]
            branches.append((Symbol("and"), branch, [entity, Keyword(":x/a")]) if self._draw(st.integers(0, 3)) == 3 else branch)
        return branches

    def _like(self, variable: Any) -> Any:
        """Draw a variable of the same kind, or a value of it."""
        kind = self.kinds[variable]
        same = [other for other in self.kinds if self.kinds[other] == kind]
        return self._draw(st.sampled_from([*same, *(() if kind == "uri" else self._values.get(kind, ()))[:3]]))


@st.composite
def queries(draw: DrawFn, attributes: list[Any], values: dict[str, tuple[Any, ...]]) -> tuple[Any, list[Any]]:
    """Draw a query and its inputs after the database."""
    made = _Query(draw, attributes, values)
    clauses: list[Any] = [made.pattern() for _ in range(draw(st.integers(1, 3)))]
    clauses += [made.other() for _ in range(draw(st.integers(0, 2)))]
    inputs, args = _inputs(draw, made, values)
    rules: list[Any] = []
    if draw(st.integers(0, 5)) == 5:
        rules = _rules(draw, attributes)
        clauses.append((Symbol("linked"), Symbol("?e"), Symbol("?r")))
        inputs, args = [*inputs, Symbol("%")], [*args, rules]
    found = sorted({*made.kinds} | {v for v in map(Symbol, ("?made", "?else", "?ground", "?r")) if _mentions(clauses, v)})
    chosen = draw(st.lists(st.sampled_from(found), min_size=1, max_size=3, unique=True))
    aggregates = draw(st.integers(0, 4)) == 4
    find = [*chosen[:-1], (draw(st.sampled_from(AGGREGATES)), chosen[-1])] if aggregates else chosen
    clauses = draw(st.permutations(clauses))
    with_ = (
        [Keyword(":with"), Symbol("?e")]
        if aggregates and Symbol("?e") in made.kinds and Symbol("?e") not in chosen and draw(st.booleans())
        else []
    )
    return [Keyword(":find"), *find, *with_, Keyword(":in"), Symbol("$"), *inputs, Keyword(":where"), *clauses], args


def _mentions(form: Any, variable: Any) -> bool:
    return any(_mentions(part, variable) for part in form) if isinstance(form, list | tuple) else type(form) is Symbol and form == variable


def _inputs(draw: DrawFn, made: _Query, values: dict[str, tuple[Any, ...]]) -> tuple[list[Any], list[Any]]:
    variables = [v for v in SCALARS if made.kinds.get(v) in values]
    if not variables or draw(st.integers(0, 2)):
        return [], []
    variable = draw(st.sampled_from(variables))
    pool = st.sampled_from(values[made.kinds[variable]])
    shape = draw(st.sampled_from(("scalar", "collection", "tuple", "relation")))
    if shape == "scalar":
        return [variable], [draw(pool)]
    if shape == "collection":
        return [[variable, Symbol("...")]], [draw(st.lists(pool, max_size=3))]
    if shape == "tuple":
        return [[variable, BLANK]], [[draw(pool), 1]]
    return [[[variable]]], [[[value] for value in draw(st.lists(pool, max_size=3))]]


def _rules(draw: DrawFn, attributes: list[Any]) -> list[Any]:
    """Draw a rule with one or two branches, of which the second may be recursive."""
    refs = [a for a in attributes if a.kind == "ref"]
    e, r, m = map(Symbol, ("?a", "?b", "?c"))
    attribute = Keyword(draw(st.sampled_from(refs or attributes)).ident)
    head = (Symbol("linked"), e, r)
    rules: list[Any] = [[head, [e, attribute, r]]]
    if refs and draw(st.booleans()):
        rules.append([head, [e, attribute, m], (Symbol("linked"), m, r)])
    return rules
