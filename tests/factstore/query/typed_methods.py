"""What mypy says of the methods of a database: each line marked `# error: code` is one that it must refuse, all others it accepts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, assert_type

from factstore import Database, Difference, Entity, Rows, TxReport, find, get, rows
from factstore import builder as b


@dataclass
class Person:
    name: str
    age: int = 0


def check(db: Database) -> None:
    p = b.entity(Person)
    assert_type(db.q("[:find ?e :where [?e]]"), Any)
    assert_type(db.q(b.find(p.name, p.age)), Collection[tuple[str, int]])
    assert_type(db.q(b.find_value(p.age), timeout=1.0), int | None)
    assert_type(db.rows("[:find ?name :where [_ :person/name ?name]]"), Rows)
    assert_type(db.rows("[:find ?name :where [_ :person/name ?name]]", into=Person), list[Person])
    assert_type(rows("[:find ?name :in [?name ...]]", ["a"], into=Person), list[Person])
    assert_type(db.rows("[:find ?name :where [_ :person/name ?name]]").one(), tuple[Any, ...])
    assert_type(db.rows("[:find ?name :where [_ :person/name ?name]]").one(into=Person), Person)
    assert_type(db.rows("[:find ?name :where [_ :person/name ?name]]").first(into=Person), Person | None)
    assert_type(db.rows("[:find ?name :where [_ :person/name ?name]]").scalar(), Any)
    assert_type(db.pull(["*"], 1), dict[Any, Any] | None)
    assert_type(db.pull(Person, 1), Person | None)
    assert_type(db.pull_many("[*]", [1]), list[dict[Any, Any] | None])
    assert_type(db.pull_many(Person, [1]), list[Person | None])
    assert_type(db.entity(1), Entity | None)
    assert_type(db.get(Person, name="Ann"), Person | None)
    assert_type(get(db, Person, 1), Person | None)
    assert_type(db.find(Person, age=7), list[Person])
    assert_type(find(db, Person), list[Person])
    assert_type(db.with_([]), TxReport)
    assert_type(db.diff(db), Difference)

    db.q(3)  # error: call-overload
    db.q("[:find ?e :where [?e]]", limit=3)  # error: call-overload
    db.q("[:find ?e :where [?e]]", timeout=[1])  # error: call-overload
    db.pull(1, ["*"])  # error: call-overload
    db.pull(["*"])  # error: call-overload
    db.pull_many(["*"], 1)  # error: call-overload
    db.rows("[:find ?e :where [?e]]", into=3)  # error: call-overload
    _ = db.get(Person, name="Ann").age  # error: union-attr
    _ = db.pull(Person, 1).age  # error: union-attr
    db.find("Person")  # error: arg-type
    _ = db.find(Person)[0].nmae  # error: attr-defined
    db.with_([], none="ignore")  # error: arg-type
    db.diff(1)  # error: arg-type
    db.entity()  # error: call-arg
