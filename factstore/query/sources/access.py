"""Access paths: how the facts of a pattern are read, by what is known of its entity and of its value.

The attribute is known: a pattern with a free attribute is matched once for each attribute (`database`). The first row
of `PATHS` whose condition holds is taken. Few facts are read one by one, many by column; the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Final, NamedTuple

from factstore.query.sources import fetch
from factstore.query.sources.fetch import FactRequest
from factstore.query.sources.match import COLUMN, FREE, VALUE, Match, Read

FEW: Final = 48  # rows up to which reading one by one is faster than by column
_VALUES_PAY: Final = 4  # facts with a value for each row, up to which reading them is faster than reading by entity


def is_small(request: FactRequest) -> bool:
    """Tell whether there are few rows."""
    return request.relation.size <= FEW


def gives_few(request: FactRequest) -> bool:
    """Tell whether there are few facts with the value, for one row."""
    if request.relation.size != 1:
        return False
    return request.source.count_with(request.attribute.id, request.needs.v.value) <= FEW


def binds_nothing(request: FactRequest) -> bool:
    """Tell whether only the existence of a fact matters."""
    _, v, tx, op = request.needs
    return v.out is None and not (tx.is_needed or op.is_needed)


def binds_nothing_and_is_rare(request: FactRequest) -> bool:
    """Tell whether only the existence of a fact matters, and few facts have the value."""
    if not binds_nothing(request) or request.is_large_part:
        return False
    facts = request.source.count_with(request.attribute.id, request.needs.v.value)
    return facts <= _VALUES_PAY * request.relation.size


def is_many(request: FactRequest) -> bool:
    """Tell whether an entity can have many values."""
    return request.attribute.many


def is_large_part(request: FactRequest) -> bool:
    """Tell whether reading the whole attribute costs no more."""
    return request.is_large_part


def has_limits(request: FactRequest) -> bool:
    """Tell whether the values must be in a range."""
    return request.limits is not None


def always(_request: FactRequest) -> bool:
    """Return True."""
    return True


class AccessPath(NamedTuple):
    """A way to read facts, and when it is taken."""

    e: int
    v: int
    condition: Callable[[FactRequest], bool]
    read: Callable[[FactRequest], Read | Match]


KNOWN: Final = VALUE | COLUMN
ANY: Final = VALUE | COLUMN | FREE

# fmt: off
PATHS: Final = (
    #          entity   value    condition                  the facts are read
    AccessPath(KNOWN,   ANY,     is_small,                  fetch.one_by_one),
    AccessPath(FREE,    VALUE,   gives_few,                 fetch.one_by_one),
    AccessPath(FREE,    VALUE,   always,                    fetch.with_value),
    AccessPath(FREE,    COLUMN,  always,                    fetch.with_values),
    AccessPath(FREE,    FREE,    has_limits,                fetch.in_range),
    AccessPath(FREE,    FREE,    always,                    fetch.whole_column),
    AccessPath(VALUE,   ANY,     always,                    fetch.of_entity),
    AccessPath(COLUMN,  VALUE,   binds_nothing_and_is_rare, fetch.has_value),
    AccessPath(COLUMN,  ANY,     binds_nothing,             fetch.has_fact),
    AccessPath(COLUMN,  KNOWN,   is_many,                   fetch.of_distinct_entities),
    AccessPath(COLUMN,  ANY,     is_large_part,             fetch.of_entities_in_whole_column),
    AccessPath(COLUMN,  ANY,     always,                    fetch.of_entities),
)
# fmt: on

_BY_KNOWN: Final = {
    (e, v): tuple((path.condition, path.read) for path in PATHS if path.e & e and path.v & v)
    for e, v in product((VALUE, COLUMN, FREE), repeat=2)
}


def read(request: FactRequest) -> Read | Match:
    """Read the facts that a pattern needs, by the first access path that applies.

    Returns: the facts, to be joined; or the join, where the path needs no facts for it.
    """
    e, v, _, _ = request.needs
    for condition, take in _BY_KNOWN[e.known, v.known]:
        if condition(request):
            return take(request)
    raise AssertionError("the last path of each combination always applies")
