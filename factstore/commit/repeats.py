"""Repeats: whether the facts of a repeated transaction are those that were committed with its key.

The log contains facts, not forms, so the forms are prepared again on the database before, and the facts are compared.
Two differences are ignored: the number of a new entity, because the order of forms has no meaning; and a UUID that
identifies a new entity, because a program that builds its forms again generates a new one.
Law: a repeat is rejected only if no later excision or change of the schema can explain the difference.
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

_ROUNDS: Final = 4  # references between new entities are distinguished up to this depth
_ANY_UUID: Final = object()  # replaces a generated UUID


def is_same(then: Database, facts: Facts, others: Facts) -> bool:
    """Return whether two sets of facts on top of one database differ at most in numbers and UUIDs of new entities."""
    return len(facts) == len(others) and _shape(then, facts) == _shape(then, others)


def _shape(then: Database, facts: Facts) -> Counter[Any]:
    """Return the facts with each new entity replaced by a hash of the facts about it."""
    schema = then.schema
    new = {fact[0] for fact in facts if not then.was_minted(fact[0])}
    hashes: Mapping[int, Any] = dict.fromkeys(new, 0)
    for _ in range(_ROUNDS):
        of_facts: dict[int, list[Any]] = {e: [] for e in new}
        for fact in facts:
            if fact[0] in new:
                of_facts[fact[0]].append(hash(_anonymous(schema, fact, hashes)[1:]))
        hashes = {e: hash(tuple(sorted(each))) for e, each in of_facts.items()}
    return Counter(_anonymous(schema, fact, hashes) for fact in facts)


def _anonymous(schema: Schema, fact: Fact, hashes: Mapping[int, Any]) -> tuple[Any, ...]:
    """Return a fact with hashes instead of new entities, and without UUIDs that identify them."""
    e, a, v, _, added = fact
    attribute = schema.attribute(a)
    if attribute.is_ref:
        v = hashes.get(v, v)
    elif e in hashes and attribute.unique is not None and _is_uuid(v):
        v = _ANY_UUID
    return hashes.get(e, e), a, v, added


def _is_uuid(value: Any) -> bool:
    if isinstance(value, str) and len(value) == 36:
        try:
            UUID(value)
        except ValueError:
            return False
        return True
    return isinstance(value, UUID)


def may_differ_by_now(newest: Database, t: int, attributes: Iterable[int] | None) -> bool:
    """Return whether an excision or a change of the schema since t may explain that the same forms give other facts.

    Args:
        attributes: the attributes of the facts that differ; None: the forms cannot be prepared at all.
    """
    since = newest.since(t)
    if since.view.by_entity(EXCISE).e.size:
        return True
    differing = None if attributes is None else set(attributes)
    system = [a for a in SCHEMA.attributes if a.id < FIRST_FREE_ID and a.id not in OF_TRANSACTIONS]
    changed = {
        fact.e
        for a in system
        for fact in since.history().datoms("aevt", a.ident)
        if newest.schema.find(fact.e) is not None
    }
    return bool(changed if differing is None else changed & differing)
