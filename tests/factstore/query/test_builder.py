"""The builder: queries written in Python are those that text would be, and are checked while they are written."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factstore
from factstore import Attr, Keyword, explain, q, qseq, rows
from factstore.builder import (
    ANY,
    Built,
    aggregate,
    and_,
    apply,
    avg,
    call,
    count,
    count_distinct,
    desc,
    distinct,
    each,
    eid,
    entity,
    fact,
    find,
    find_each,
    find_row,
    find_value,
    get_else,
    greatest,
    least,
    many,
    max_,
    min_,
    missing,
    named,
    not_,
    or_,
    pull,
    rule,
    some,
    source,
    sum_,
    var,
)
from factstore.errors import QueryError
from factstore.query.language.ast import Query
from factstore.query.language.clauses import parse_rules
from factstore.query.language.query import parse_query


@dataclass
class City:
    name: Annotated[str, Attr(unique="identity")]


@dataclass
class Person:
    email: Annotated[str, Attr(unique="identity")]
    name: str
    year_born: int
    city: City
    vip: bool = False
    score: float | None = None
    friends: Annotated[list[Person], Attr(unordered=True)] = field(default_factory=list)
    tags: frozenset[str] = frozenset()


@rule
def knows(a: Person, b: Person) -> bool:
    """Friends, and friends of friends."""
    m = entity(Person, "m")
    return or_(each(a.friends) == b, and_(each(a.friends) == m, knows(m, b)))


@rule
def neighbours(a: Person, b: Person) -> bool:
    """Who lives in one city."""
    return and_(a.city == b.city, eid(a) != eid(b))


@rule
def old(year: int) -> bool:
    """Born long ago."""
    return year < 1980


@rule
def even_year(year: int) -> bool:
    """What no rule can say."""
    return apply(is_even, year)


def is_even(n: int) -> bool:
    return n % 2 == 0


@pytest.fixture(scope="module")
def db() -> Any:
    conn = factstore.connect("memory:")
    conn.transact(factstore.schema_of(City, Person))
    conn.transact([City("Rome"), City("Oslo")])
    people = [
        Person("a", "Ann", 1970, City("Rome"), True, 1.5, tags=frozenset("xy")),
        Person("b", "Bo", 1990, City("Rome"), False, 2.5, tags=frozenset("x")),
        Person("c", "Cy", 1985, City("Oslo"), True, None),
    ]
    conn.transact(people)
    friends = [("a", "b"), ("b", "c")]
    conn.transact([{":person/email": one, ":person/friends": [[":person/email", other]]} for one, other in friends])
    db = conn.db()
    conn.close()
    return db


P, F = entity(Person, "p"), entity(Person, "f")
N, YEAR = var(str, "n"), var(int, "year")
AGE = named(2024 - P.year_born, "age")

# what is built, the text that it is, what it finds
CASES: list[tuple[Built[Any], str, Any]] = [
    (find(P.name), "[:find ?p-name :where [?p :person/name ?p-name]]", {("Ann",), ("Bo",), ("Cy",)}),
    (
        find(P.name).where(P.city.name == "Rome", P.year_born < 1980),
        '[:find ?p-name :where [?p :person/name ?p-name] [?p :person/city ?p-city] [?p-city :city/name "Rome"] [?p :person/year-born ?p-year-born] [(< ?p-year-born 1980)]]',
        {("Ann",)},
    ),
    (find_each(P.name).where(P.vip), "[:find [?p-name ...] :where [?p :person/name ?p-name] [?p :person/vip true]]", ["Ann", "Cy"]),
    (
        find_value(P.year_born).where(P.name == "Bo"),
        '[:find ?p-year-born . :where [?p :person/year-born ?p-year-born] [?p :person/name "Bo"]]',
        1990,
    ),
    (
        find_row(P.name, P.year_born).where(P.email == "c"),
        '[:find [?p-name ?p-year-born] :where [?p :person/name ?p-name] [?p :person/year-born ?p-year-born] [?p :person/email "c"]]',
        ("Cy", 1985),
    ),
    (
        find(P.name, F.name).where(each(P.friends) == F),
        "[:find ?p-name ?f-name :where [?p :person/name ?p-name] [?f :person/name ?f-name] [?p :person/friends ?f]]",
        {("Ann", "Bo"), ("Bo", "Cy")},
    ),
    (
        find(P.name).where(not_(each(P.friends).vip)),
        "[:find ?p-name :where [?p :person/name ?p-name] (not [?p :person/friends ?p-friends] [?p-friends :person/vip true])]",
        {("Ann",), ("Cy",)},
    ),
    (
        find(P.name).where(or_(P.city.name == "Oslo", and_(P.vip, P.year_born < 1980))),
        '[:find ?p-name :where [?p :person/name ?p-name] (or-join [?p] (and [?p :person/city ?p-city] [?p-city :city/name "Oslo"]) (and [?p :person/vip true] [?p :person/year-born ?p-year-born] [(< ?p-year-born 1980)]))]',
        {("Ann",), ("Cy",)},
    ),
    (
        find(P.name).where(P.year_born == YEAR, or_(YEAR > 1988, P.name == "Ann")),
        '[:find ?p-name :where [?p :person/name ?p-name] [?p :person/year-born ?year] (or-join [[?p ?year]] [(> ?year 1988)] [?p :person/name "Ann"])]',
        {("Ann",), ("Bo",)},
    ),
    (
        find(P.name).where(missing(P.score)),
        "[:find ?p-name :where [?p :person/name ?p-name] [(missing? $ ?p :person/score)]]",
        {("Cy",)},
    ),
    (
        find(P.name, get_else(P.score, 0.0)).where(some(P.score) > 2),
        "[:find ?p-name ?v :where [?p :person/name ?p-name] [(get-else $ ?p :person/score 0.0) ?v] [?p :person/score ?p-score] [(> ?p-score 2)]]",
        {("Bo", 2.5)},
    ),
    (
        find(P.city.name, count(P), sum_(P.year_born)).with_(P).order_by(desc(count(P))),
        "[:find ?p-city-name (count ?p) (sum ?p-year-born) :where [?p :person/city ?p-city] [?p-city :city/name ?p-city-name] [?p :person/year-born ?p-year-born] :order-by (count ?p) :desc]",
        [("Rome", 2, 3960), ("Oslo", 1, 1985)],
    ),
    (
        find(P.city.name, sum_(P.year_born)).with_(P, P).order_by(P.city.name),
        "[:find ?p-city-name (sum ?p-year-born) :with ?p :where [?p :person/city ?p-city] [?p-city :city/name ?p-city-name] [?p :person/year-born ?p-year-born] :order-by ?p-city-name :asc]",
        [("Oslo", 1985), ("Rome", 3960)],
    ),
    (
        find(P.city.name, named(count(P), "size")).having(named(count(P), "size") > 1),
        "[:find ?p-city-name (as (count ?p) ?size) :where [?p :person/city ?p-city] [?p-city :city/name ?p-city-name] :having [(> ?size 1)]]",
        {("Rome", 2)},
    ),
    (
        find(P.city.name, sum_(P.year_born), count(P)).having(
            or_(sum_(P.year_born) / count(P) == 1985, count(P) == 2), not_(P.city.name == "Rome")
        ),
        '[:find ?p-city-name (sum ?p-year-born) (count ?p) :where [?p :person/city ?p-city] [?p-city :city/name ?p-city-name] [?p :person/year-born ?p-year-born] :having (or (and [(/ (sum ?p-year-born) (count ?p)) ?v] [(= ?v 1985)]) [(= (count ?p) 2)]) (not [(= ?p-city-name "Rome")])]',
        {("Oslo", 1985, 1)},
    ),
    (
        find(AGE).order_by(AGE).limit(1).offset(1),
        "[:find (as ?v ?age) :where [?p :person/year-born ?p-year-born] [(- 2024 ?p-year-born) ?v] :order-by ?age :asc :limit 1 :offset 1]",
        [(39,)],
    ),
    (
        find(P.name, call(str, "str", P.name, "!")).where(call(bool, "clojure.string/starts-with?", P.name, "A")),
        '[:find ?p-name ?v :where [?p :person/name ?p-name] [(str ?p-name "!") ?v] [(clojure.string/starts-with? ?p-name "A")]]',
        {("Ann", "Ann!")},
    ),
    (
        find(eid(P), P.name).where(P.name == N, N == "Nobody"),
        '[:find ?p ?p-name :where [?p :person/name ?p-name] [?p :person/name ?n] [(ground "Nobody") ?n]]',
        set(),
    ),
    (
        find(
            least(1, P.year_born),
            greatest(1, P.year_born),
            min_(P.name),
            max_(P.name),
            count_distinct(P.city),
            avg(P.year_born),
            distinct(P.vip),
        ),
        "[:find (min 1 ?p-year-born) (max 1 ?p-year-born) (min ?p-name) (max ?p-name) (count-distinct ?p-city) (avg ?p-year-born) (distinct ?p-vip) :where [?p :person/year-born ?p-year-born] [?p :person/name ?p-name] [?p :person/city ?p-city] [?p :person/vip ?p-vip]]",
        {((1970,), (1990,), "Ann", "Cy", 2, 5945 / 3, frozenset((True, False)))},
    ),
    (
        find(pull(P, "[:person/name]")).where(P.email == "a"),
        '[:find (pull ?p [:person/name]) :where [?p :person/email "a"]]',
        [({":person/name": "Ann"},)],
    ),
    (
        find(P.name, var(bool, "op")).where(fact(P, ":person/name", "Ann", ANY, var(bool, "op"))),
        '[:find ?p-name ?op :where [?p :person/name ?p-name] [?p :person/name "Ann" _ ?op]]',
        {("Ann", True)},
    ),
]


def plain(node: Any) -> Any:
    """Return an AST as plain tuples, what it was written as left out."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        skipped = {"form", "memo"}
        return type(node).__name__, tuple(
            (each.name, plain(getattr(node, each.name))) for each in dataclasses.fields(node) if each.name not in skipped
        )
    if isinstance(node, list | tuple):
        return [plain(part) for part in node]
    if isinstance(node, dict):
        return {key: plain(part) for key, part in node.items()}
    return type(node), node


def test_the_comparison_of_these_tests_tells_queries_apart() -> None:
    one, other = (parse_query(f"[:find ?a :where [?a :b {value}]]") for value in ("1", "1.0"))
    assert plain(one) != plain(other)


@pytest.mark.parametrize(("built", "text", "expected"), CASES, ids=lambda case: case if isinstance(case, str) else None)
def test_a_query_built_is_the_query_of_its_text(built: Built[Any], text: str, expected: Any, db: Any) -> None:
    assert text == built.to_edn()
    assert plain(parse_query(text)) == plain(built.ast)
    found = q(built, db)
    assert expected == (sorted(found) if built.shape == "collection" else found)


def test_a_rule_is_a_function_whose_value_is_the_condition_under_which_it_holds(db: Any) -> None:
    built = find(P.name, F.name).where(knows(P, F))
    assert "[:find ?p-name ?f-name :in $ % :where [?p :person/name ?p-name] [?f :person/name ?f-name] (knows ?p ?f)]" == built.to_edn()
    rules = "[[(knows ?a ?b) [?a :person/friends ?b]] [(knows ?a ?b) [?a :person/friends ?m] (knows ?m ?b)]]"
    assert rules == built.rules_edn()
    assert plain(parse_rules(rules)) == plain(parse_rules(built.bound[0]))
    assert {("Ann", "Bo"), ("Bo", "Cy"), ("Ann", "Cy")} == q(built, db) == q(built.to_edn(), db, built.rules_edn())


def test_rules_take_values_and_stand_inside_of_conditions(db: Any) -> None:
    assert {("Ann", "Bo"), ("Bo", "Ann")} == q(find(P.name, F.name).where(neighbours(P, F)), db)
    assert {("Bo",), ("Cy",)} == q(find(P.name).where(not_(old(P.year_born))), db)
    assert {("Ann",), ("Cy",)} == q(find(P.name).where(or_(old(P.year_born), P.city.name == "Oslo")), db)


def test_inputs_follow_the_database_in_the_order_in_which_they_are_taken(db: Any) -> None:
    assert {(1970,)} == q(find(P.year_born).where(P.name == N).takes(N), db, "Ann")
    assert {("Ann",), ("Bo",)} == q(find(N).where(P.name == N).takes(many(N)), db, ["Ann", "Bo", "Zed"])
    built = find(P.name, var(str, "team")).where(P.name == N).takes(many(N, var(str, "team")), (YEAR, ANY_NAME)).where(P.year_born > YEAR)
    assert (
        "[:find ?p-name ?team :in $ [[?n ?team]] [?year ?any] :where [?p :person/name ?p-name] [?p :person/name ?n] [?p :person/year-born ?p-year-born] [(> ?p-year-born ?year)]]"
        == built.to_edn()
    )
    assert {("Bo", "red")} == q(built, db, [("Ann", "blue"), ("Bo", "red")], (1980, "x"))


ANY_NAME = var(str, "any")


def test_other_sources_are_databases_or_tuples(db: Any) -> None:
    teams, then = source("teams"), source("then")
    before = entity(Person, "before", source=then)
    built = (
        find(P.name, var(str, "team"))
        .where(fact(P.name, var(str, "team"), source=teams), before.email == P.email, missing(before.score))
        .takes(teams, then)
    )
    assert {("Cy", "red")} == q(built, db, [("Ann", "blue"), ("Cy", "red")], db)


def test_callables_of_python_are_inputs_that_the_query_brings(db: Any) -> None:
    built = find(P.name, apply(str.upper, P.name)).where(apply(is_even, P.year_born))
    assert (
        "[:find ?p-name ?v :in $ ?upper ?is-even :where [?p :person/name ?p-name] [(?upper ?p-name) ?v] [?p :person/year-born ?p-year-born] [(?is-even ?p-year-born)]]"
        == built.to_edn()
    )
    assert {("Ann", "ANN"), ("Bo", "BO")} == q(built, db) == q(built.to_edn(), db, *built.bound)
    assert {(5945,)} == q(find(aggregate(sum, P.year_born)).with_(P), db)


def test_pulling_an_entity_gives_an_instance_of_its_class(db: Any) -> None:
    [(bo,)] = q(find(pull(P)).where(P.name == "Bo"), db)
    assert "b" == bo.email
    assert City("Rome") == bo.city
    assert ["Cy"] == [each.name for each in bo.friends]


def test_a_path_is_one_value_wherever_it_stands(db: Any) -> None:
    assert {("Ann",)} == q(find(P.name).where(each(P.tags) == "x", each(P.tags) > "x"), db)
    assert set() == q(find(P.name).where(each(P.tags) > "x", each(P.tags) < "y"), db)


def test_names_that_somebody_chose_are_never_given_to_others(db: Any) -> None:
    mine, other = var(str, "person-name"), entity(Person)
    assert {("Ann", "Bo"), ("Bo", "Ann"), ("Ann", "Ann")} < q(find(mine, other.name).where(P.name == mine), db)
    assert "?person-name2" in find(mine, other.name).where(P.name == mine).to_edn()


def test_everything_that_takes_a_query_takes_a_built_one(db: Any) -> None:
    built = find(P.name, apply(str.lower, P.name)).order_by(P.name)
    assert [("Ann", "ann"), ("Bo", "bo"), ("Cy", "cy")] == q(built, db) == list(rows(built, db)) == list(qseq(built, db))
    assert ("p-name", "v") == rows(built, db).columns
    assert 3 == explain(built, db).rows


def test_methods_return_other_queries() -> None:
    built = find(P.name)
    assert built.to_edn() != built.where(P.vip).to_edn()
    assert "[:find ?p-name :where [?p :person/name ?p-name]]" == built.to_edn()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: find(*()), "finds at least one element"),
        (lambda: find(1).form, "expected a variable, an aggregate or a pull to find, got 1"),
        (lambda: find(P.name).where(P.score == None), "missing"),  # noqa: E711
        (lambda: find(P.name).where(True).form, "expected a condition"),
        (lambda: find(P.name).where(P.city == City("Rome")).form, "entity"),
        (lambda: find(P.name).where(count(P) > 1).form, "only in find, having and order_by"),
        (lambda: find(P.name).takes("x").form, "to take, got 'x'"),
        (lambda: find(P.name).order_by(P.email).ast, "order-by takes an element of :find"),
        (lambda: find(P.name).having(count(P) > 1).ast, "having takes elements of :find"),
        (lambda: entity(int), "expected a dataclass"),
        (lambda: var(str, "?x"), "letters, digits and dashes"),
        (lambda: source("$x"), "letters, digits and dashes"),
        (lambda: eid(3), "takes an entity"),
        (lambda: each([1]), "an attribute with many values"),
        (lambda: missing(3), "takes an attribute"),
        (lambda: pull(var(int)), "needs a pattern"),
        (lambda: or_(), "at least one condition"),
        (lambda: fact(), "at least one term"),
        (lambda: many(), "at least one variable"),
        (lambda: knows(P), "takes 2 arguments, got 1"),
        (lambda: find(P.name).where(even_year(P.year_born)).form, "rule even-year applies a callable"),
    ],
)
def test_a_query_that_cannot_be_expressed_is_an_error_where_it_is_written(build: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message) as raised:
        build()
    assert ":db.error/invalid-query" == raised.value.code


def test_a_field_that_a_class_has_not_is_an_attribute_error_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"Person has no field nmae; did you mean name\?"):
        _ = P.nmae  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "use",
    [lambda: not P.vip, lambda: P.vip and P.name == "Ann", lambda: 1980 < P.year_born < 1990, lambda: "x" in P.tags, lambda: list(P.tags)],
)
def test_what_python_would_evaluate_now_is_refused(use: Any) -> None:
    with pytest.raises(TypeError):
        use()


def test_two_rules_of_one_name_are_told_apart_or_refused() -> None:
    def other() -> Any:
        @rule
        def knows(a: Person, b: Person) -> bool:
            return a.name == b.name

        return knows

    with pytest.raises(QueryError, match="two rules have the name knows"):
        _ = find(P.name).where(knows(P, F), other()(P, F)).form


# -- the law

PATHS = [lambda e: e.name, lambda e: e.email, lambda e: e.city.name, lambda e: each(e.tags), lambda e: each(e.friends).name]


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> Any:
    one = draw(st.sampled_from([P, F]))
    kind = draw(st.sampled_from(["is", "order", "same", "friend", "missing", *(["not", "or", "and"] if depth else [])]))
    path = draw(st.sampled_from(PATHS))(one)
    if kind == "is":
        return path == draw(st.sampled_from(["Ann", "a", "Rome", "x", N, Keyword(":k"), '"', "?x"]))
    if kind == "order":
        return one.year_born + draw(st.integers(-3, 3)) > draw(st.sampled_from([1975, 1985, YEAR]))
    if kind == "same":
        return path == draw(st.sampled_from(PATHS))(F)
    if kind == "friend":
        return knows(P, F) if draw(st.booleans()) else each(P.friends) == F
    if kind == "missing":
        return missing(one.score)
    parts = draw(st.lists(conditions(depth - 1), min_size=1, max_size=3))
    return {"not": not_, "or": or_, "and": and_}[kind](*parts)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(conditions(), max_size=4),
    st.lists(st.sampled_from([P.name, eid(F), N, count(F), AGE, sum_(P.year_born)]), min_size=1, max_size=3, unique_by=id),
    st.booleans(),
)
def test_the_law_a_built_query_and_its_text_are_one(parts: list[Any], elements: list[Any], is_ordered: bool) -> None:
    built = find(*elements).where(*parts).takes(N, YEAR)
    built = built.order_by(elements[0]).limit(2) if is_ordered else built
    try:
        read: Query = parse_query(built.to_edn())
    except QueryError as error:
        with pytest.raises(QueryError) as raised:
            _ = built.ast
        assert error.message == raised.value.message
        return
    assert plain(read) == plain(built.ast)
    assert plain(parse_rules(built.rules_edn())) == plain(parse_rules(built.bound[0] if built.rules_edn() != "[]" else []))
