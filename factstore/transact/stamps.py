"""Stamps: when an entity was made, and when last changed, as facts of it, where the schema asks for that by :db/stamp.

An entity is stamped when a transaction makes it, or adds or retracts something of it and something is left. What a transaction
says of a stamp by itself stands. Transactions and the schema are not stamped. Law: a transaction that changes nothing stamps nothing.
"""

from __future__ import annotations

from factstore.datom import USER_BASE, Fact
from factstore.schema.attribute import STAMP_CREATED
from factstore.transact.expand import Claims
from factstore.transact.stages import Changes


def stamp(claims: Claims, changes: Changes, instant: int) -> None:
    """Add to the facts those that stamp the entities they are about."""
    stamps = claims.schema.stamps
    own = frozenset(attribute.id for attribute in stamps)
    facts, t = changes.facts, claims.db.basis_t + 1
    said = {(e, a) for e, a, _, _, added in facts if added and a in own}
    for e in _changed(claims, facts, own):
        is_new = e >= claims.first_fresh
        for attribute in stamps:
            a = attribute.id
            if (e, a) in said or (attribute.stamp == STAMP_CREATED and not is_new):
                continue
            known = () if is_new else claims.db.view.values_of(e, a)
            if instant in known and (e, a, instant) not in changes.gone:
                continue
            facts.extend((e, a, old, t, False) for old in known if (e, a, old) not in changes.gone)
            if (e, a, instant) in changes.gone:
                facts.remove((e, a, instant, t, False))
            else:
                facts.append((e, a, instant, t, True))


def _changed(claims: Claims, facts: list[Fact], own: frozenset[int]) -> list[int]:
    """Return the users' entities that the facts change and leave something of."""
    about = dict.fromkeys(fact[0] for fact in facts if fact[0] >= USER_BASE and fact[1] not in own)
    added = {fact[0] for fact in facts if fact[4]}
    gone = {fact[:3] for fact in facts if not fact[4]}
    return [
        e
        for e in about
        if e in added or any(f[:3] not in gone and f[1] not in own for f in claims.db.view.facts_about(e))
    ]
