"""The builder: queries written in Python, with completion in editors and checks by type checkers.

    p = entity(Person)                                # a variable for an entity; to a type checker, a Person
    q(find(p.name, count(each(p.friends))).where(p.age > 30, p.city.name == "Rome"), db)

A field is an attribute. `==` states a fact; other comparisons are predicates. `factstore.schema_of` declares the same
classes.
Law: a built query and its text, `to_edn()`, are the same query.
"""

from __future__ import annotations

from factstore.query.builder.built import Built, find, find_each, find_row, find_value
from factstore.query.builder.expressions import (
    ANY,
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
    get_else,
    greatest,
    least,
    many,
    max_,
    median,
    min_,
    missing,
    named,
    not_,
    or_,
    pull,
    rand,
    sample,
    some,
    source,
    stddev,
    sum_,
    var,
    variance,
)
from factstore.query.builder.rules import rule
from factstore.query.builder.terms import Source

__all__ = [
    "ANY",
    "Built",
    "Source",
    "aggregate",
    "and_",
    "apply",
    "avg",
    "call",
    "count",
    "count_distinct",
    "desc",
    "distinct",
    "each",
    "eid",
    "entity",
    "fact",
    "find",
    "find_each",
    "find_row",
    "find_value",
    "get_else",
    "greatest",
    "least",
    "many",
    "max_",
    "median",
    "min_",
    "missing",
    "named",
    "not_",
    "or_",
    "pull",
    "rand",
    "rule",
    "sample",
    "some",
    "source",
    "stddev",
    "sum_",
    "var",
    "variance",
]
