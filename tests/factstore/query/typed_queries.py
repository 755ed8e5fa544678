"""What mypy says of queries built in Python: each line marked `# error: code` is one that it must refuse, all others it accepts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, assert_type

from factstore import Database, Rows, q, rows
from factstore.builder import (
    Built,
    and_,
    apply,
    avg,
    call,
    count,
    desc,
    distinct,
    each,
    eid,
    entity,
    find,
    find_each,
    find_value,
    get_else,
    least,
    many,
    max_,
    named,
    not_,
    or_,
    pull,
    rule,
    some,
    sum_,
    var,
)


@dataclass
class City:
    name: str


@dataclass
class Person:
    name: str
    age: int
    city: City
    nick: str | None = None
    friends: list[Person] = field(default_factory=list)
    tags: frozenset[str] = frozenset()


@rule
def knows(a: Person, b: Person) -> bool:
    return or_(each(a.friends) == b, each(a.friends).name == b.name)


def shout(text: str) -> str:
    return text.upper()


def check(db: Database) -> None:
    p, f = entity(Person), entity(Person)
    n = var(str)

    # what is found
    assert_type(find(p.name, p.age), Built[Collection[tuple[str, int]]])
    assert_type(q(find(p.name, p.age), db), Collection[tuple[str, int]])
    assert_type(q(find(p.name, p.age).where(p.age > 3).order_by(desc(p.age)).limit(3), db), list[tuple[str, int]])
    assert_type(q(find_each(p.city.name), db), list[str])
    assert_type(q(find_value(max_(p.age)), db), int | None)
    assert_type(q(find(eid(p), pull(p), pull(p, "[*]")), db), Collection[tuple[int, Person, dict[Any, Any]]])
    assert_type(q(find(count(p), avg(p.age), sum_(p.age), distinct(p.name)), db), Collection[tuple[int, float, int, frozenset[str]]])
    assert_type(q(find(get_else(p.nick, "-"), some(p.nick), least(2, p.age)), db), Collection[tuple[str, str, tuple[int, ...]]])
    assert_type(q(find(apply(shout, p.name), call(int, "count", p.name)), db), Collection[tuple[str, int]])
    assert_type(q(find(named(count(p), "n"), p.age + 1), db), Collection[tuple[int, int]])
    assert_type(rows(find(p.name), db), Rows)
    assert_type(q("[:find ?e :where [?e]]", db), Any)

    # what may stand in a condition
    find(p.name).where(p.name == n, n == "Ann", p.city.name < "S", p.age + 1 > 3, knows(p, f), apply(shout, n) == "ANN")
    find(p.name).where(each(p.friends) == f, each(p.tags) == "x", some(p.nick) > "a", not_(or_(p.age == 3, and_(p.age > 5, n != "x"))))
    find(p.name, count(f)).having(count(f) > 3).takes(many(n))

    find(p.nmae)  # error: attr-defined
    find(p.city.nmae)  # error: attr-defined
    find(p.friends.name)  # error: attr-defined
    find(p.name).where(p.name == 3)  # error: comparison-overlap
    find(p.name).where(p.name > 3)  # error: operator
    find(p.name).where(p.nick > "a")  # error: operator
    find(p.name).where(n == p.age)  # error: comparison-overlap
    find(p.name).where(p.city == p)  # error: comparison-overlap
    find(p.name).where(p.name + 1 == "x")  # error: operator
    find(p.name).where(p.name)  # error: arg-type
    find(p.name).where(knows(p, p.city))  # error: arg-type
    find(p.name).where(knows(p))  # error: call-arg
    find(p.name).where(apply(shout, p.name))  # error: arg-type
    find(p.name).having(count(p))  # error: arg-type
    find(p.name).limit("3")  # error: arg-type
    entity(3)  # error: arg-type
    for name, age in q(find(p.name, p.age), db):
        name + age  # error: operator
