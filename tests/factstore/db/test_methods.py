"""The methods of a database value, and the objects of a class that it holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import Attr, DatabaseError, PullError, QueryError, connect, schema_of


class Mood(Enum):
    GOOD = 1
    BAD = 2


@dataclass(frozen=True)
class City:
    name: Annotated[str, Attr(unique="identity")]
    country: str | None = None


@dataclass
class Person:
    email: Annotated[str, Attr(unique="identity")]
    born: int
    mood: Mood | None = None
    city: City | None = None
    tags: frozenset[str] = frozenset()
    birthday: date | None = None
    friends: Annotated[list[Person], Attr(unordered=True)] = field(default_factory=list)
    eid: Annotated[int | None, ":db/id"] = None


@dataclass
class Fan:
    email: Annotated[str, ":person/email"]


@dataclass
class Star:
    email: Annotated[str, ":person/email"]
    fans: Annotated[list[Fan], ":person/_friends"]


ROME, BONN = City("Rome", "it"), City("Bonn")
PEOPLE = [
    Person("a", 1970, Mood.GOOD, ROME, frozenset("xy"), date(1970, 1, 2)),
    Person("b", 1970, Mood.BAD, BONN, frozenset("x")),
    Person("c", 1980, None, ROME),
]


@pytest.fixture(scope="module")
def db() -> Any:
    with connect("memory:") as conn:
        conn.transact(schema_of(City, Person))
        conn.transact([{":db/ident": ":thing/other", ":db/doc": "no person"}])
        conn.transact(PEOPLE)
        conn.transact([{":db/id": [":person/email", "a"], ":person/friends": [[":person/email", "b"], [":person/email", "c"]]}])
        yield conn.db()


ANN = [":person/email", "a"]
NAMES = "[:find ?n :where [_ :city/name ?n] :order-by ?n]"


def test_methods_are_the_functions_of_the_package(db: Any) -> None:
    assert {("Rome",), ("Bonn",)} == set(db.q(NAMES)) == set(factstore.q(NAMES, db))
    assert "Rome" == db.q("[:find ?n . :in $ ?c :where [?e :city/country ?c] [?e :city/name ?n]]", "it")
    assert db.rows(NAMES).dicts() == factstore.rows(NAMES, db).dicts()
    assert {":person/born": 1970} == db.pull([":person/born"], ANN) == factstore.pull(db, [":person/born"], ANN)
    assert [{":person/born": 1970}, None] == db.pull_many([":person/born"], [ANN, 99])
    assert db.entity(ANN) == factstore.entity(db, ANN)
    after = db.with_([{":city/name": "Oslo"}]).db_after
    assert "Oslo" in {name for (name,) in after.q(NAMES)} and "Oslo" not in {name for (name,) in db.q(NAMES)}
    assert [":city/name"] == [str(after.ident(datom.a)) for datom in db.diff(after) if datom.v == "Oslo"]
    assert db.diff(after) == factstore.diff(db, after)


def test_the_options_of_a_query_are_those_of_the_function(db: Any) -> None:
    with pytest.raises(factstore.QueryStopped):
        db.q(NAMES, max_rows=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'no_such'"):
        db.q(NAMES, no_such=1)
    assert db.rows(NAMES, stats=True).explanation is not None


def names(people: list[Person]) -> list[str]:
    return [each.email for each in people]


def test_get_returns_the_object_of_a_unique_field_or_of_an_entity(db: Any) -> None:
    ann = db.get(Person, email="a")
    assert ("a", Mood.GOOD, ROME, date(1970, 1, 2)) == (ann.email, ann.mood, ann.city, ann.birthday)
    assert ann == db.get(Person, ann.eid) == db.get(Person, eid=ann.eid) == db.get(Person, ANN)
    assert db.get(Person, email="nobody") is None
    assert db.get(City, ANN) is None


@pytest.mark.parametrize(
    ("use", "kind", "code"),
    [
        (lambda db: db.get(Person, emial="a"), QueryError, ":db.error/unknown-field"),
        (lambda db: db.find(Person, bron=1), QueryError, ":db.error/unknown-field"),
        (lambda db: db.get(Person), QueryError, ":db.error/invalid-inputs"),
        (lambda db: db.get(Person, 1, email="a"), QueryError, ":db.error/invalid-inputs"),
        (lambda db: db.get(Person, email="a", born=1970), QueryError, ":db.error/invalid-inputs"),
        (lambda db: db.find(int), QueryError, ":db.error/invalid-inputs"),
        (lambda db: db.get(Person, born=1970), DatabaseError, ":db.error/lookup-ref-attr-not-unique"),
        (lambda db: db.find(Person, mood="GOOD"), factstore.TransactError, ":db.error/wrong-type-for-attribute"),
        (lambda db: factstore.get(None, Person, 1), DatabaseError, ":db.error/not-a-database"),
        (lambda db: factstore.find(None, Person), DatabaseError, ":db.error/not-a-database"),
    ],
)
def test_a_wrong_use_is_an_error_with_a_code(db: Any, use: Any, kind: type, code: str) -> None:
    with pytest.raises(kind) as caught:
        use(db)
    assert code == caught.value.code


def test_find_returns_the_objects_whose_fields_have_the_values(db: Any) -> None:
    assert ["a", "b", "c"] == names(db.find(Person))
    assert ["a", "b"] == names(db.find(Person, born=1970))
    assert ["a"] == names(db.find(Person, mood=Mood.GOOD))
    assert ["c"] == names(db.find(Person, mood=None))
    assert ["a", "b"] == names(db.find(Person, tags="x"))
    assert ["a"] == names(db.find(Person, tags={"x", "y"}))
    assert ["a", "c"] == names(db.find(Person, city=ROME)) == names(db.find(Person, city=[":city/name", "Rome"]))
    assert ["c"] == names(db.find(Person, city=ROME, born=1980))
    assert ["a"] == names(db.find(Person, birthday=date(1970, 1, 2)))
    assert ["a"] == names(db.find(Person, friends=[":person/email", "b"]))
    assert ["b", "c"] == [each.email for each in db.find(Star, fans=[":person/email", "a"])]
    assert [] == db.find(Person, city=City("Oslo")) == db.find(Person, born=1)
    eid = db.entid(ANN)
    assert ["a"] == names(db.find(Person, eid=eid)) and [] == db.find(Person, eid=eid, born=1)


@given(
    st.lists(st.builds(City, st.sampled_from("abc"), st.none() | st.sampled_from("xy")), max_size=5),
    st.sampled_from("abc"),
    st.none() | st.sampled_from("xy"),
)
def test_find_is_what_python_finds(cities: list[City], name: str, country: str | None) -> None:
    stored = {city.name: city for city in cities}
    with connect("memory:") as conn:
        conn.transact(schema_of(City))
        conn.transact(list(stored.values()))
        db = conn.db()
    for wanted in ({}, {"name": name}, {"country": country}, {"name": name, "country": country}):
        expected = {city for city in stored.values() if all(getattr(city, key) == value for key, value in wanted.items())}
        found = db.find(City, **wanted)
        assert expected == set(found) and len(expected) == len(found)


def test_one_row_the_first_row_and_one_value(db: Any) -> None:
    found, nothing = db.rows(NAMES), db.rows("[:find ?n :where [_ :city/name ?n] [_ :city/country ?n]]")
    assert ("Bonn",) == found.first() and "Bonn" == found.scalar()
    assert nothing.first() is None and nothing.scalar() is None
    assert ("Bonn",) == found[:1].one()
    for rows in (found, nothing):
        with pytest.raises(QueryError, match="expected one row, got") as caught:
            rows.one()
        assert ":db.error/not-one-row" == caught.value.code


@dataclass
class Line:
    name: str
    year_born: int = 0
    mood: Mood | None = None


LINES = "[:find ?name ?mood :keys name mood :in [[?name ?mood]] :order-by ?name]"


def test_rows_become_objects_by_the_names_of_their_columns(db: Any) -> None:
    data = [["a", factstore.Keyword(":mood/good")], ["b", factstore.Keyword(":mood/bad")]]
    assert [Line("a", 0, Mood.GOOD), Line("b", 0, Mood.BAD)] == factstore.rows(LINES, data, into=Line)
    assert Line("a", 0, Mood.GOOD) == factstore.rows(LINES, data).first(into=Line)
    assert Line("a", 0, Mood.GOOD) == factstore.rows(LINES, data)[:1].one(into=Line)
    people = db.rows("[:find ?name ?year-born :where [?e :person/email ?name] [?e :person/born ?year-born] :order-by ?name]", into=Line)
    assert [Line("a", 1970), Line("b", 1970), Line("c", 1980)] == people
    assert {"name": "Bonn"} == db.rows("[:find ?name :where [_ :city/name ?name] :order-by ?name]", into=dict)[0]


def test_columns_that_are_no_fields_and_values_that_are_no_members_are_named() -> None:
    for query, name in (
        ("[:find ?nmae :in [?nmae ...]]", "nmae, did you mean name"),
        ("[:find ?mood :in [?mood ...]]", "Line.name needs a column"),
    ):
        with pytest.raises(QueryError, match=name.replace(".", r"\.").replace(", did", ".*")) as caught:
            factstore.rows(query, [1], into=Line)
        assert ":db.error/unknown-field" == caught.value.code
    with pytest.raises(QueryError, match=r"Line\.mood: expected one of :mood/good") as caught:
        factstore.rows(LINES, [["a", 7]], into=Line)
    assert ":db.error/unexpected-value" == caught.value.code


def test_swapped_arguments_are_recognised(db: Any) -> None:
    with pytest.raises(QueryError, match="the query is the first argument, and the database the second"):
        factstore.q(db, NAMES)
    with connect("memory:") as conn, pytest.raises(QueryError, match="the query is the first argument"):
        factstore.q(conn, NAMES)
    with pytest.raises(DatabaseError, match="the database is the first argument"):
        factstore.pull(["*"], db, ANN)  # type: ignore[call-overload]


def test_a_value_that_a_field_cannot_have_is_an_error_of_the_pull(db: Any) -> None:
    after = db.with_([{":db/id": ANN, ":person/mood": ":thing/other"}]).db_after
    with pytest.raises(PullError, match=r"Person\.mood cannot have this :person/mood: expected one of :mood/good, :mood/bad") as caught:
        after.get(Person, email="a")
    assert ":db.error/unexpected-value" == caught.value.code
