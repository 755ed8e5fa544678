"""The law of queries: whatever the data, the clauses and their order, the answer is that of nested loops over all facts."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factstore
from factstore.errors import QueryError
from factstore.query import calls, run
from factstore.query.analysis.program import compile_rules
from factstore.query.answer import assemble
from factstore.query.language.query import parse_query
from factstore.query.relations import algebra
from factstore.query.relations.relation import strict
from factstore.query.sources import access, database, functions
from factstore.testing.naive.queries import Naive, naive_rows
from factstore.values.types import Keyword, Symbol

IVAN, COLOR = Keyword(":red"), Keyword(":blue")
TYPES = {
    ":t/name": ("string", "one", ["a", "b", ":red"]),
    ":t/age": ("long", "one", [0, 1, 2]),
    ":t/tag": ("keyword", "many", [IVAN, COLOR]),
    ":t/num": ("long", "many", [0, 1, 3]),
    ":t/score": ("double", "one", [0.0, 1.0]),
    ":t/on": ("boolean", "one", [True, False]),
    ":t/at": ("instant", "one", [datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)]),
    ":t/to": ("ref", "many", None),
    ":t/up": ("ref", "one", None),
}
ATTRIBUTES = list(TYPES)
ENTITIES = 5
VARIABLES = [Symbol(name) for name in ("?a", "?b", "?c", "?d")]
COLUMNS = (
    (access, "FEW"),
    (database, "FEW"),
    (functions, "FEW"),
    (database, "_POSITIONS_OF_POINT"),
    (algebra, "_FEW"),
    (calls, "_VECTORS_PAY"),
    (assemble, "_VECTORS_PAY"),
    (run, "_DISTINCT_PAYS"),
)


@pytest.fixture(params=["rows", "columns"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small relations go row by row; with every threshold at nothing, they go by column."""
    if request.param == "columns":
        for module, name in COLUMNS:
            monkeypatch.setattr(module, name, 0)


@cache
def empty_database() -> tuple[factstore.Database, tuple[int, ...]]:
    conn = factstore.connect("memory:")
    conn.transact(
        [
            {":db/ident": name, ":db/valueType": f":db.type/{kind}", ":db/cardinality": f":db.cardinality/{cardinality}"}
            for name, (kind, cardinality, _) in TYPES.items()
        ]
        + [
            {
                ":db/ident": ":t/key",
                ":db/valueType": ":db.type/long",
                ":db/cardinality": ":db.cardinality/one",
                ":db/unique": ":db.unique/value",
            }
        ]
    )
    report = conn.transact([{":db/id": f"e{i}", ":db/ident": f":e/e{i}", ":t/key": i} for i in range(ENTITIES)])
    return report.db_after, tuple(report.tempids[f"e{i}"] for i in range(ENTITIES))


def values_of(name: str) -> st.SearchStrategy[Any]:
    values = TYPES[name][2]
    return st.sampled_from(values if values is not None else list(empty_database()[1]))


@st.composite
def changes(draw: st.DrawFn) -> list[Any]:
    """One transaction: a few facts asserted or retracted."""
    forms = {}
    for _ in range(draw(st.integers(1, 7))):
        name, e = draw(st.sampled_from(ATTRIBUTES)), draw(st.sampled_from(empty_database()[1]))
        value, op = draw(values_of(name)), draw(st.sampled_from([":db/add", ":db/add", ":db/add", ":db/retract"]))
        # One form for an entity and attribute, so that no two forms of a transaction contradict each other.
        forms[e, name] = [op, e, name, value]
    return list(forms.values())


@st.composite
def databases(draw: st.DrawFn) -> factstore.Database:
    """A database with a history, seen whole, as of a point, since one, as history, or filtered."""
    db, _ = empty_database()
    first = db.basis_t
    for transaction in draw(st.lists(changes(), min_size=1, max_size=4)):
        db = factstore.with_(db, transaction).db_after
    point = draw(st.integers(first, db.basis_t))
    kind = draw(st.sampled_from(["now", "now", "now", "as-of", "since", "history", "filter"]))
    return {
        "now": lambda: db,
        "as-of": lambda: db.as_of(point),
        "since": lambda: db.since(point),
        "history": lambda: db.history(),
        "filter": lambda: db.filter(lambda _db, datom: datom.e % 2 == 0),
    }[kind]()


variables = st.sampled_from(VARIABLES)
BLANK = Symbol("_")


@st.composite
def patterns(draw: st.DrawFn, source: tuple[Symbol, ...] = ()) -> list[Any]:
    name = draw(st.sampled_from(ATTRIBUTES))
    e = draw(st.one_of(variables, variables, st.just(BLANK), st.sampled_from(empty_database()[1])))
    a = draw(st.one_of(variables, st.just(BLANK))) if draw(st.integers(0, 19)) == 7 else Keyword(name)
    v = draw(st.one_of(variables, variables, values_of(name), st.just(BLANK)))
    more = draw(st.sampled_from([[], [], [], [], [Symbol("?t")], [BLANK, True], [BLANK, Symbol("?o")]]))
    places = [e, a, v, *more] if more or draw(st.booleans()) else [e, a]
    return [*source, *places]


@st.composite
def comparisons(draw: st.DrawFn) -> list[Any]:
    operator = draw(st.sampled_from(["=", "not=", "!="]))
    other = draw(st.one_of(variables, st.sampled_from([0, 1, 1.0, True, "a", IVAN])))
    return [(Symbol(operator), draw(variables), other)]


@st.composite
def compounds(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(["not", "not-join", "or", "or-join", "identity"]))
    if kind == "identity":
        return [(Symbol("identity"), draw(st.one_of(variables, st.sampled_from([0, "a", IVAN])))), draw(variables)]
    inner = draw(st.lists(st.one_of(patterns(), comparisons()), min_size=1, max_size=2))
    if kind == "not":
        return (Symbol("not"), *inner)
    other = draw(st.lists(st.one_of(patterns(), comparisons()), min_size=1, max_size=2))
    branches = [(Symbol("and"), *inner), (Symbol("and"), *other)]
    names = draw(st.lists(variables, min_size=1, max_size=2, unique=True))
    if kind == "not-join":
        return (Symbol("not-join"), names, *inner)
    return (Symbol("or"), *branches) if kind == "or" else (Symbol("or-join"), names, *branches)


@st.composite
def queries(draw: st.DrawFn, extra: st.SearchStrategy[Any] | None = None) -> list[Any]:
    clauses = draw(st.lists(patterns(), min_size=1, max_size=3))
    kinds = [patterns(), comparisons(), compounds()] + ([extra] if extra is not None else [])
    clauses += draw(st.lists(st.one_of(kinds), max_size=2))
    used = sorted(
        {part for clause in clauses if isinstance(clause, list) for part in clause if type(part) is Symbol and part.startswith("?")}
    )
    found = draw(st.lists(st.sampled_from(used), min_size=1, max_size=3)) if used else [VARIABLES[0]]
    return [Keyword(":find"), *found, Keyword(":in"), Symbol("$"), Symbol("%"), Keyword(":where"), *draw(st.permutations(clauses))]


def agrees(query: list[Any], db: factstore.Database, rules: Any = ()) -> None:
    try:
        parsed = parse_query(query)
        compile_rules(rules).scopes.check(parsed.clauses, frozenset(), parsed.names)
    except QueryError:
        return  # a query that means nothing; that these are refused is tested elsewhere
    got = factstore.q(query, db, rules)
    expected = naive_rows(query, db, rules)
    # A Python set takes 1, 1.0 and true for one, so it may hold fewer rows than there are, but never others.
    assert {strict(row) for row in got} <= expected
    assert {row for _, row in map(loose, expected)} == {row for _, row in map(loose, map(strict, got))}


def loose(key: Any) -> Any:
    """Return a strict key without its types, as Python compares what it stands for."""
    kind, value = key
    return kind, tuple(loose(part)[1] for part in value) if kind is tuple else value


LAW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much])


@LAW
@given(databases(), queries())
@pytest.mark.usefixtures("way")
def test_a_query_answers_what_nested_loops_answer(db: factstore.Database, query: list[Any]) -> None:
    agrees(query, db)


RULES = [
    "[[(r ?x ?y) [?x :t/to ?y]] [(r ?x ?y) [?x :t/to ?z] (r ?z ?y)]]",
    "[[(r ?x ?y) [?x :t/to ?y]] [(r ?x ?y) (r ?x ?z) [?z :t/to ?y]]]",
    "[[(r ?x ?y) [?x :t/to ?y]] [(r ?x ?y) (r ?x ?z) (r ?z ?y)]]",
    "[[(r ?x ?y) [?x :t/num ?y]] [(r ?x ?y) [?x :t/up ?z] (r ?z ?y)]]",
    "[[(r ?x ?y) [?x :t/up ?y]] [(r ?y ?x) (r ?x ?y)]]",
    "[[(r ?x ?y) [?x :t/up ?p] [?y :t/up ?p]] [(r ?x ?y) [?x :t/up ?p] [?y :t/up ?q] (r ?p ?q)]]",
    "[[(s ?x ?y) [?x :t/to ?y]] [(s ?x ?y) [?x :t/to ?z] (r ?z ?y)] [(r ?x ?y) [?x :t/to ?z] (s ?z ?y)]]",
    "[[(r ?x ?y) [?x :t/age ?y]] [(r ?x ?y) (or-join [?x ?y] (and [?x :t/to ?z] (r ?z ?y)) [?x :t/num ?y])]]",
    "[[(r ?x ?y) [?x :t/to ?y] (not [?y :t/on true])] [(r ?x ?y) [?x :t/to ?z] (r ?z ?y) (not [?x :t/age 0])]]",
    "[[(r ?x ?y) [?x :t/age ?y]] [(r ?x ?y) [?x :t/tag ?y]]]",
    """[[(r ?x ?y) [?x :t/to ?y] [?y :t/to ?x]] [(r ?x ?y) (r ?y ?z) [?z :t/up ?x] [?y :t/to _]]
        [(r ?x ?y) (r ?x ?z) (r ?z ?w) [?w :t/up ?y]]]""",
    "[[(r ?x ?y) [?x :t/to ?z] (s ?z ?y)] [(s ?x ?y) [?x :t/up ?z] (r ?z ?y)] [(s ?x ?y) [?x :t/num ?y]]]",
    "[[(r ?x ?y) (s ?x ?y)] [(s ?x ?y) (or-join [?x ?y] [?x :t/to ?y] (and (r ?x ?z) [?z :t/up ?y] (not [?z :t/age 1])))]]",
    "[[(r ?x ?y) [?x :t/age ?k] (t ?k ?x ?y)] [(t ?k ?x ?y) [?x :t/to ?y] [?y :t/num ?k]] [(t ?k ?x ?y) [?x :t/to ?z] (t ?k ?z ?y)]]",
    "[[(r ?x ?y) (t ?x 1 ?y)] [(t ?x ?k ?y) [?x :t/num ?k] [?x :t/age ?y]] [(t ?x ?k ?y) [?x :t/num ?k] [?x :t/to ?z] [?z :t/num ?m] (t ?z ?m ?y)]]",
    "[[(r ?x ?y) (t ?x _ ?y)] [(t ?x ?k ?y) [?x :t/up ?k] [?k :t/to ?y]] [(t ?x ?k ?y) (t ?z ?k ?y) [?x :t/to ?z] [?z :t/up _]]]",
    """[[(r ?x ?y) (t ?x ?y ?k) [?k :t/on true]] [(t ?x ?y ?k) [?x :t/to ?y] [?y :t/up ?k]]
        [(t ?x ?y ?k) (u ?x ?z ?k) [?z :t/to ?y]] [(u ?x ?y ?k) [?x :t/up ?z] (t ?z ?y ?k)]]""",
]


@pytest.mark.parametrize("rules", RULES)
def test_rules_of_the_laws_mean_something(rules: str) -> None:
    assert "r" in compile_rules(rules).rules


@st.composite
def rule_calls(draw: st.DrawFn) -> Any:
    args = [draw(st.one_of(variables, variables, st.just(BLANK), st.sampled_from([*empty_database()[1], 1]))) for _ in range(2)]
    call = (Symbol("r"), *args)
    return draw(st.sampled_from([call, call, (Symbol("not"), call), (Symbol("or"), call, call)]))


@LAW
@given(databases(), queries(rule_calls()), st.data(), st.sampled_from(RULES))
@pytest.mark.usefixtures("way")
def test_rules_answer_what_a_naive_fixpoint_answers(db: factstore.Database, query: list[Any], data: st.DataObject, rules: str) -> None:
    agrees([*query, data.draw(rule_calls())], db, rules)


AGGREGATES = ["count", "count-distinct", "min", "max", "sum", "avg", "median", "distinct"]
NUMBERS = [":t/age", ":t/num", ":t/to", ":t/up"]


@st.composite
def aggregations(draw: st.DrawFn) -> tuple[list[Any], Any]:
    """A query that groups, its numbers whole so that sums are exact, and rules beside it."""
    value = [draw(variables), Keyword(draw(st.sampled_from(NUMBERS))), Symbol("?n")]
    clauses = [value, *draw(st.lists(st.one_of(patterns(), patterns(), compounds(), rule_calls()), max_size=2))]
    used = sorted(
        {part for clause in clauses if isinstance(clause, list) for part in clause if type(part) is Symbol and part.startswith("?")}
    )
    names = draw(st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=3))
    elements = [(Symbol(name), Symbol("?n")) for name in names]
    others = draw(st.lists(st.sampled_from(used), max_size=2, unique=True))
    if draw(st.booleans()):
        elements.append((Symbol(draw(st.sampled_from(["min", "max"]))), draw(st.integers(1, 3)), Symbol("?n")))
    if draw(st.booleans()):
        elements.append((Symbol("count"), draw(st.sampled_from(used))))
    counted = draw(st.lists(st.sampled_from(used), max_size=2, unique=True))
    query = [
        *(Keyword(":find"), *draw(st.permutations([*others, *elements]))),
        *((Keyword(":with"), *counted) if counted else ()),
        *(Keyword(":in"), Symbol("$"), Symbol("%"), Keyword(":where"), *draw(st.permutations(clauses))),
    ]
    return query, draw(st.sampled_from(RULES))


@LAW
@given(databases(), aggregations())
@pytest.mark.usefixtures("way")
def test_groups_are_what_nested_loops_put_together(db: factstore.Database, asked: tuple[list[Any], str]) -> None:
    agrees(asked[0], db, asked[1])


NAMED = [
    *RULES,
    "[[(r ?x ?y) [?x :t/to ?y]] [(r ?x ?y) (r ?z ?y) [?x :t/to ?z]]]",
    "[[(r ?x ?y) (t :t/to ?x ?y)] [(t ?a ?x ?y) [?x ?a ?y]] [(t ?a ?x ?y) [?x ?a ?z] (t ?a ?z ?y)]]",
    "[[(r ?x ?y) [?x :t/to ?y]] [(r ?x ?y) (s ?x ?z) (r ?z ?y)] [(s ?x ?y) [?x :t/up ?y]] [(s ?x ?y) (r ?y ?x)]]",
    "[[(r ?x ?y) [?x :t/to ?y]] [(r ?x ?y) [?x :t/to ?z] ($ r ?z ?y) (not [?z :t/up ?x])]]",
]
CALLS = [
    "(r ?x ?y)",
    "(r ?y ?x)",
    "(r ?x ?y) (r ?y ?x)",
    "(r ?x ?x) [?x :t/to ?y]",
    "[?x _ _] [?y :t/to _] (not (r ?x ?y))",
    "[?y :t/to _] (not-join [?x ?y] (r ?y ?z) (r ?z ?x))",
    "[?y :t/to _] (or-join [?x ?y] (r ?x ?y) (and (r ?y ?z) [?z :t/to ?x]))",
    "($ r ?x ?y) [?y :t/to ?x]",
]


@st.composite
def named(draw: st.DrawFn) -> tuple[dict[int, Any], list[int]]:
    """Entities that are asked about, and a name of each: a lookup ref, an ident, the text of one, or its id."""
    numbers = draw(st.lists(st.integers(0, ENTITIES - 1), min_size=1, max_size=3, unique=True))
    eids = empty_database()[1]
    names = {eids[i]: draw(st.sampled_from([[":t/key", i], Keyword(f":e/e{i}"), f":e/e{i}", eids[i]])) for i in numbers}
    return names, list(names)


@LAW
@given(databases(), named(), st.sampled_from(CALLS), st.sampled_from(NAMED), st.sampled_from(["?x", "[?x ...]", "[[?x ?n]]", "[?x ?n]"]))
@pytest.mark.usefixtures("way")
def test_rules_answer_names_as_they_answer_ids(
    db: factstore.Database, given: tuple[dict[int, Any], list[int]], call: str, rules: str, binding: str
) -> None:
    # A view that does not see the fact of an identity knows no lookup ref for it.
    names = {eid: name if db.entid(name) == eid else eid for eid, name in given[0].items()}
    eids = given[1]

    def asked(entities: list[Any]) -> set[Any]:
        inputs = {
            "?x": entities[0],
            "[?x ...]": entities,
            "[[?x ?n]]": [[e, i] for i, e in enumerate(entities)],
            "[?x ?n]": [entities[0], 0],
        }
        return set(factstore.q(f"[:find ?x ?y :in $ % {binding} :where {call}]", db, rules, inputs[binding]))

    known = {strict(name): eid for eid, name in names.items()}
    assert asked(eids) == {(known[strict(x)], y) for x, y in asked([names[eid] for eid in eids])}


@LAW
@given(databases(), queries(), st.randoms(use_true_random=False))
def test_the_order_of_clauses_does_not_matter(db: factstore.Database, query: list[Any], random: Any) -> None:
    where = query.index(Keyword(":where")) + 1
    shuffled = query[where:]
    random.shuffle(shuffled)
    try:
        expected = factstore.q(query, db, [])
    except QueryError as error:
        with pytest.raises(QueryError) as raised:
            factstore.q([*query[:where], *shuffled], db, [])
        assert error.code == raised.value.code
    else:
        assert expected == factstore.q([*query[:where], *shuffled], db, [])


values = st.one_of(st.integers(0, 2), st.sampled_from([0.0, 1.0]), st.booleans(), st.sampled_from(["a", IVAN, None]))
tables = st.lists(st.tuples(values, values, values), max_size=8)


@LAW
@given(tables, tables, st.lists(st.lists(st.one_of(variables, st.just(BLANK), values), min_size=1, max_size=3), min_size=1, max_size=3))
@pytest.mark.usefixtures("way")
def test_collections_join_by_type_and_value(left: list[Any], right: list[Any], places: list[list[Any]]) -> None:
    clauses = [[Symbol("$" if i % 2 else "$2"), *each] for i, each in enumerate(places)]
    used = [part for clause in clauses for part in clause if type(part) is Symbol and part.startswith("?")]
    query = [Keyword(":find"), *(used or VARIABLES[:1]), Keyword(":in"), Symbol("$"), Symbol("$2"), Keyword(":where"), *clauses]
    if not used:
        return
    got = factstore.q(query, left, right)
    expected = Naive({"$": left, "$2": right}, {}, {}).answer(parse_query(query), {})
    assert {row for _, row in map(loose, expected)} == {row for _, row in map(loose, map(strict, got))}
