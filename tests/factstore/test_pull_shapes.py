"""Dataclasses as patterns: instances instead of maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest

import factstore
from factstore import PullError, pull, pull_many

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
        assert (3000, "3000") == (depth, here.name)
