"""Dataclasses as patterns: instances instead of maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest

import factstore
from factstore import Attr, PullError, connect, pull, pull_many, schema_of

SCHEMA = """
[{:db/ident :person/name       :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :person/year-born  :db/valueType :db.type/long   :db/cardinality :db.cardinality/one}
 {:db/ident :person/friends    :db/valueType :db.type/ref    :db/cardinality :db.cardinality/many}
 {:db/ident :person/boss       :db/valueType :db.type/ref    :db/cardinality :db.cardinality/one}
 {:db/ident :contact/email     :db/valueType :db.type/string :db/cardinality :db.cardinality/many}]
"""


@dataclass(frozen=True)
class Name:
    eid: Annotated[int, ":db/id"]
    name: Annotated[str, ":person/name"]


@dataclass(frozen=True)
class Person:
    name: str
    year_born: int | None
    emails: Annotated[frozenset[str], ":contact/email"]
    friends: list[Name]
    boss: Person | None = None
    followers: Annotated[list[Name], ":person/_friends"] = field(default_factory=list)


@dataclass(frozen=True)
class Strict:
    year: Annotated[int, ":person/year-born"]
    name: Annotated[str | None, ":person/name"] = "?"


@dataclass
class Here:
    there: Annotated[There | None, ":person/boss"]


@dataclass
class There:
    here: Annotated[Here | None, ":person/boss"]


@pytest.fixture(scope="module")
def db():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        yield conn.transact("""[{:db/id "a" :person/name "Ann" :person/year-born 1990 :contact/email ["a" "b"] :person/friends ["b"]}
                                {:db/id "b" :person/name "Bo" :person/boss "a" :person/friends ["a" "b"]}]""").db_after


def person(name):
    return [":person/name", name]


def test_a_class_is_pulled_as_an_instance(db):
    ann, bo = (Name(db.entid(person(name)), name) for name in ("Ann", "Bo"))
    expected = Person("Ann", 1990, frozenset({"a", "b"}), [bo], followers=[bo])
    assert expected == pull(db, Person, person("Ann"))
    assert Person("Bo", None, frozenset(), [ann, bo], boss=expected, followers=[ann, bo]) == pull(db, Person, person("Bo"))


def test_many_instances_keep_their_places(db):
    assert ["Ann", None, "Bo"] == [found and found.name for found in pull_many(db, Name, map(person, ("Ann", "Cy", "Bo")))]


def test_a_field_that_cannot_do_without_its_attribute_says_so(db):
    assert Strict(1990, "Ann") == pull(db, Strict, person("Ann"))
    with pytest.raises(PullError, match=r"Strict\.year needs a :person/year-born") as caught:
        pull(db, Strict, person("Bo"))
    assert ":db.error/missing-value" == caught.value.code


def test_classes_that_lead_to_each_other_are_refused(db):
    with pytest.raises(PullError, match="Here → There → Here"):
        pull(db, Here, person("Ann"))


def test_a_class_that_is_no_dataclass_is_refused(db):
    with pytest.raises(PullError, match="dataclass"):
        pull(db, int, person("Ann"))


def test_a_long_chain_of_instances_is_built():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        people = [{":db/id": str(n), ":person/name": str(n), ":person/boss": str(n + 1)} for n in range(3000)]
        db = conn.transact([*people, {":db/id": "3000", ":person/name": "3000"}]).db_after
        here, depth = pull(db, Person, person("0")), 0
        while here.boss is not None:
            here, depth = here.boss, depth + 1
        assert 3000 == depth
        assert "3000" == here.name


@dataclass
class Node:
    key: Annotated[str, Attr(unique="identity")]
    next: Node | None = None


@dataclass
class Knot:
    """Of a graph: many references to the same class, and its own id among the fields."""

    eid: Annotated[int | None, ":db/id"] = None
    name: Annotated[str | None, Attr(":knot/name", unique="identity")] = None
    to: Annotated[list[Knot], Attr(":knot/to", unordered=True)] = field(default_factory=list)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_circle_of_entities_is_refused_as_instances_and_named(size):
    nodes = [Node(str(i)) for i in range(size)]
    for i, node in enumerate(nodes):
        node.next = nodes[(i + 1) % size]
    with connect("memory:") as conn:
        conn.transact(schema_of(Node))
        conn.transact(nodes)
        assert size == len(list(conn.db().datoms("aevt", ":node/next")))
        conn.transact([{":node/key": "before", ":node/next": [":node/key", "0"]}])
        for key in ("0", "before"):
            with pytest.raises(PullError, match=r"refers back to itself by Node\.next \(:node/next\)") as caught:
                pull(conn.db(), Node, [":node/key", key])
            assert ":db.error/circular-value" == caught.value.code
            assert ":node/next" == caught.value.attribute
            assert conn.db().entid([":node/key", "0"]) == caught.value.entity


def test_what_is_reached_twice_is_no_circle():
    with connect("memory:") as conn:
        conn.transact(schema_of(Node, Knot))
        last = Knot(name="d")
        conn.transact([Knot(name="a", to=[Knot(name="b", to=[last]), Knot(name="c", to=[last])])])
        a = next(datom.e for datom in conn.db().datoms("aevt", ":knot/name") if datom.v == "a")
        found = pull(conn.db(), Knot, a)
        assert {"b": ["d"], "c": ["d"]} == {each.name: [one.name for one in each.to] for each in found.to}
        conn.transact([[":db/add", found.to[0].to[0].eid, ":knot/to", a]])
        with pytest.raises(PullError, match=r"refers back to itself by Knot\.to"):
            pull(conn.db(), Knot, a)


def test_a_chain_that_ends_in_an_entity_without_the_fields_ends_before_it():
    with connect("memory:") as conn:
        conn.transact(schema_of(Node))
        other = conn.transact([{":db/id": "x", ":db/doc": "no node"}]).tempids["x"]
        conn.transact([{":node/key": "a", ":node/next": other}])
        assert Node("a") == pull(conn.db(), Node, [":node/key", "a"])
        assert pull(conn.db(), Node, other) is None
