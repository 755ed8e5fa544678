"""Repeats: whether the facts of a transaction that is asked for again are those that were committed under its key.

The log keeps facts, not forms, so the forms are prepared once more on the database of then, and the facts compared. Two things make no
difference: which number a new entity got, for the order of forms means nothing; and a UUID that names a new entity, for a program
that builds its forms anew makes a new one. Law: a repeat is only rejected when nothing since could explain what differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias
from uuid import UUID

from factstore.datom import Fact
from factstore.db.database import Database
from factstore.schema.attribute import EXCISE, FIRST_FREE_ID, OF_TRANSACTIONS, Schema
from factstore.schema.bootstrap import SCHEMA

Facts: TypeAlias = Collection[Fact]

_ROUNDS: Final = 4  # references between new entities are told apart up to this far
_MADE_ANEW: Final = object()  # in place of a UUID


def is_same(then: Database, facts: Facts, others: Facts) -> bool:
    """Tell whether two sets of facts on top of one database differ at most in the numbers and the UUIDs of new entities."""
    return len(facts) == len(others) and _shape(then, facts) == _shape(then, others)


def _shape(then: Database, facts: Facts) -> Counter[Any]:
    """Return facts with new entities replaced by what is said of them."""
    schema = then.schema
    new = {fact[0] for fact in facts if not then.was_minted(fact[0])}
    looks: Mapping[int, Any] = dict.fromkeys(new, 0)
    for _ in range(_ROUNDS):
        said: dict[int, list[Any]] = {e: [] for e in new}
        for fact in facts:
            if fact[0] in new:
                said[fact[0]].append(hash(_seen(schema, fact, looks)[1:]))
        looks = {e: hash(tuple(sorted(about))) for e, about in said.items()}
    return Counter(_seen(schema, fact, looks) for fact in facts)


def _seen(schema: Schema, fact: Fact, looks: Mapping[int, Any]) -> tuple[Any, ...]:
    e, a, v, _, added = fact
    attribute = schema.attribute(a)
    if attribute.is_ref:
        v = looks.get(v, v)
    elif e in looks and attribute.unique is not None and _is_uuid(v):
        v = _MADE_ANEW
    return looks.get(e, e), a, v, added


def _is_uuid(value: Any) -> bool:
    if isinstance(value, str) and len(value) == 36:
        try:
            UUID(value)
        except ValueError:
            return False
        return True
    return isinstance(value, UUID)


def may_differ_by_now(newest: Database, t: int, attributes: Iterable[int] | None) -> bool:
    """Tell whether what was done since transaction t may be why its forms come to other facts: an excision, or a change of the schema.

    Args:
        attributes: those by which the facts differ; None: the forms cannot be prepared at all.
    """
    since = newest.since(t)
    if since.view.by_entity(EXCISE).e.size:
        return True
    concerned = None if attributes is None else set(attributes)
    system = [a for a in SCHEMA.attributes if a.id < FIRST_FREE_ID and a.id not in OF_TRANSACTIONS]
    changed = {
        fact.e
        for a in system
        for fact in since.history().datoms("aevt", a.ident)
        if newest.schema.find(fact.e) is not None
    }
    return bool(changed if concerned is None else changed & concerned)
