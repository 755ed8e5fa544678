"""The functions that cases call by name, registered as any user would register theirs."""

from __future__ import annotations

from typing import Any

import factstore
from factstore import register

# -- called from queries and pulls


@register("conf/twice")
def twice(x: int) -> int:
    return 2 * x


@register("conf/add3")
def add3(a: int, b: int, c: int) -> int:
    return a + b + c


@register("conf/long-name?")
def is_long_name(name: str) -> bool:
    return len(name) > 4


@register("conf/adult?")
def is_adult(age: int) -> bool:
    return age >= 18


@register("conf/shout")
def shout(text: str) -> str:
    return text + "!"


@register("conf/pair")
def pair(a: Any, b: Any) -> list[Any]:
    return [a, b]


@register("conf/divmod")
def truncating_divmod(a: int, b: int) -> list[int]:
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return [quotient, a - quotient * b]


@register("conf/upto")
def upto(n: int) -> list[int]:
    return list(range(1, n + 1))


@register("conf/nothing")
def nothing(*_: Any) -> None:
    return None


@register("conf/boom")
def boom(*_: Any) -> None:
    raise RuntimeError("boom")


@register("conf/wrap")
def wrap(x: Any) -> list[Any]:
    return [x]


@register("conf/half-open?")
def is_half_open(low: Any, x: Any, high: Any) -> bool:
    return bool(low <= x < high)


# -- aggregates


@register("conf/total")
def total(values: list[Any]) -> Any:
    return sum(values)


@register("conf/spread")
def spread(values: list[Any]) -> Any:
    return max(values) - min(values)


@register("conf/sorted-list")
def sorted_list(values: list[Any]) -> list[Any]:
    return sorted(values)


@register("conf/top")
def top(n: int, values: list[Any]) -> list[Any]:
    return sorted(values, reverse=True)[:n]


# -- predicates of attributes and entities


@register("conf/short-string?")
def is_short_string(text: str) -> bool:
    return len(text) <= 8


@register("conf/positive?")
def is_positive(number: Any) -> bool:
    return bool(number > 0)


@register("conf/adult-entity?")
def is_adult_entity(db: factstore.Database, eid: Any) -> bool:
    return bool(known(db, eid, ":u/age", 0) >= 18)


@register("conf/short-name-entity?")
def is_short_name_entity(db: factstore.Database, eid: Any) -> bool:
    return len(known(db, eid, ":u/name", "")) <= 6


# -- transaction functions


@register("conf/birthday")
def birthday(db: factstore.Database, ref: Any, years: int) -> list[Any]:
    return [[":db/add", ref, ":u/age", known(db, ref, ":u/age", 0) + years]]


@register("conf/rename")
def rename(_db: factstore.Database, login: str, name: str) -> list[Any]:
    return [{":db/id": [":u/login", login], ":u/name": name}]


@register("conf/spawn")
def spawn(_db: factstore.Database, login: str, n: int) -> list[Any]:
    return [{":u/login": f"{login}{i}", ":u/age": i} for i in range(n)]


@register("conf/outer")
def outer(_db: factstore.Database, ref: Any) -> list[Any]:
    return [["conf/birthday", ref, 10], [":db/add", ref, ":u/name", "outer"]]


@register("conf/nothing-tx")
def nothing_tx(_db: factstore.Database) -> list[Any]:
    return []


@register("conf/refuse")
def refuse(_db: factstore.Database, *_: Any) -> list[Any]:
    raise RuntimeError("refused")


def known(db: factstore.Database, ref: Any, attribute: str, default: Any) -> Any:
    """Return the value an entity has of an attribute, or the default."""
    found = factstore.entity(db, ref)
    return default if found is None else found.get(attribute, default)
