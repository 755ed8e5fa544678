"""Stamps: the times at which an entity was created and last changed, as its facts, if the schema has :db/stamp.

An entity is stamped if a transaction creates it, or changes its facts and at least one remains. If the transaction
itself asserts the stamp, that value is kept. Transactions and the schema are not stamped.
Law: a transaction that changes nothing stamps nothing.
"""

from __future__ import annotations

from factstore.datom import USER_BASE, Fact
from factstore.schema.attribute import STAMP_CREATED
from factstore.transact.expand import Claims
from factstore.transact.stages import Changes


def stamp(claims: Claims, changes: Changes, instant: int) -> None:
    """Add the stamps of the entities that the facts change."""
    stamps = claims.schema.stamps
    own = frozenset(attribute.id for attribute in stamps)
    facts, t = changes.facts, claims.db.basis_t + 1
    asserted = {(e, a) for e, a, _, _, added in facts if added and a in own}
    for e in _changed(claims, facts, own):
        is_new = e >= claims.first_fresh
        for attribute in stamps:
            a = attribute.id
            if (e, a) in asserted or (attribute.stamp == STAMP_CREATED and not is_new):
                continue
            values = () if is_new else claims.db.view.values_of(e, a)
            if instant in values and (e, a, instant) not in changes.gone:
                continue
            facts.extend((e, a, old, t, False) for old in values if (e, a, old) not in changes.gone)
            if (e, a, instant) in changes.gone:
                facts.remove((e, a, instant, t, False))
            else:
                facts.append((e, a, instant, t, True))


def _changed(claims: Claims, facts: list[Fact], own: frozenset[int]) -> list[int]:
    """Return the entities in the users' partition that the facts change, and that have facts afterwards."""
    about = dict.fromkeys(fact[0] for fact in facts if fact[0] >= USER_BASE and fact[1] not in own)
    added = {fact[0] for fact in facts if fact[4]}
    gone = {fact[:3] for fact in facts if not fact[4]}
    return [
        e
        for e in about
        if e in added or any(f[:3] not in gone and f[1] not in own for f in claims.db.view.facts_about(e))
    ]
