"""The entity of each tempid.

A slot is an existing entity if one of its identity values has a holder in the database before. Two slots with the same
identity value are one entity. All remaining slots are new entities. An identity value can itself be a slot (a unique
reference), so a binding can make further ones possible: a claim waits for the slot that is its value, and is processed
again when that slot is bound or united. Law: the result is the least fixed point, in any order of the forms.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from factstore.datom import USER_BASE, tx_of
from factstore.errors import UniqueConflict
from factstore.transact.before import BULK
from factstore.transact.expand import Claims
from factstore.transact.stages import (
    NOT_SPECIAL,
    Claim,
    Entity,
    EntityId,
    Resolution,
    ResolvedClaim,
    Settled,
    Special,
)
from factstore.values.quoting import quoted

_NOT_YET: Final = EntityId(-1)


class _Unification:
    """Union-find over slots, some of them bound to an entity."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._holders = claims.holders
        self._parents = list(range(claims.slots))
        self.bound: dict[int, tuple[int, Claim]] = {}  # root → entity, and the claim that bound it
        self._first: dict[tuple[int, object], Claim] = {}  # identity → the first slot's claim to it
        self._waiting: dict[int, list[Claim]] = {}  # root → claims whose value it is
        self._queue: deque[Claim] = deque(claims.slot_claims.identities)

    def root(self, slot: int) -> int:
        """Return the representative of the slots that are one entity with a slot, which can be given as an index."""
        i, parents = (~slot if slot < 0 else slot), self._parents
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    def run(self) -> None:
        """Bind and unite slots until nothing changes."""
        if len(self._queue) >= BULK:
            self._holders.fetch(
                (claim[1].id, claim[2]) for claim in self._queue if not claim[1].is_ref or claim[2] >= 0
            )
        for slot, claim in self._claims.slot_claims.bound:
            self._bind(self.root(slot), claim[0], claim)
        while self._queue:
            self._settle(self._queue.popleft())

    def _settle(self, claim: Claim) -> None:
        slot, attribute, v, _ = claim
        if attribute.is_ref and v < 0:
            root = self.root(v)
            binding = self.bound.get(root)
            if binding is None:
                self._waiting.setdefault(root, []).append(claim)
                v = ~root
            else:
                v = binding[0]
        if not attribute.is_ref or v >= 0:
            for holder in self._holders.of(attribute.id, v):
                self._bind(self.root(slot), holder, claim)
        first = self._first.setdefault((attribute.id, v), claim)
        if first is not claim:
            self._unite(self.root(first[0]), self.root(slot))

    def _bind(self, root: int, eid: int, claim: Claim) -> None:
        binding = self.bound.get(root)
        if binding is None:
            self.bound[root] = (eid, claim)
            self._queue.extend(self._waiting.pop(root, ()))
        elif binding[0] != eid:
            self._conflict(binding, (eid, claim))

    def _unite(self, one: int, other: int) -> None:
        if one == other:
            return
        binding = self.bound.pop(other, None)
        self._parents[other] = one
        # The value of the claims that waited for the other has changed.
        self._queue.extend(self._waiting.pop(other, ()))
        if binding is not None:
            self._bind(one, *binding)

    def _conflict(self, one: tuple[int, Claim], other: tuple[int, Claim]) -> None:
        (first, (slot, a, _, place)), (second, (_, b, _, there)) = one, other
        datoms = self._datom(first, one[1]), self._datom(second, other[1])
        (_, _, v, *_), (_, _, w, *_) = datoms
        problems = self._claims.problems
        problems.add(
            ":db.error/upsert-conflict",
            f"{self._claims.name_of(slot)} is entity {first} by {a.ident} {quoted(v)} "
            f"(at {problems.locate(place, a)[0]}) and entity {second} by {b.ident} {quoted(w)}; it can be only one",
            there,
            b,
            UniqueConflict,
            entities=(first, second),
            datoms=datoms,
        )

    def _datom(self, e: int, claim: Claim) -> tuple[int, str, object, int, bool]:
        """Return the datom by which a claim binds its slot to an entity."""
        _, attribute, v, _ = claim
        v = self.bound[self.root(v)][0] if attribute.is_ref and v < 0 else v
        t = next(
            (fact[3] for fact in self._claims.db.view.facts_with(attribute.id, v) if fact[0] == e),
            self._claims.db.basis_t + 1,
        )
        return e, attribute.ident, attribute.load(v), tx_of(t), True


def resolve(claims: Claims) -> Resolution:
    """Return the entity of each slot.

    Raises: UniqueConflict(:db.error/upsert-conflict); TransactError for a tempid of which nothing is asserted.
    """
    if not claims.slots:
        return Resolution([], frozenset((claims.tx,)), claims.db.next_n)
    if claims.slot_claims.identities or claims.slot_claims.bound:
        slots = _Unification(claims)
        slots.run()
        claims.raise_any()
        resolution = _mint(claims, [slots.root(slot) for slot in range(claims.slots)], slots.bound)
    else:
        resolution = _mint(claims, range(claims.slots), {})
    _check_names(claims, resolution.ids)
    return resolution


def _mint(claims: Claims, roots: Sequence[int], bound: Mapping[int, tuple[int, Claim]]) -> Resolution:
    """Assign ids to the new entities, in the order of their slots."""
    n = claims.db.next_n
    subjects = {roots[~slot] for slot in claims.subjects}
    typed = {roots[~claim[0]] for claim in claims.slot_claims.typed}
    given = {root: eid for root, (eid, _) in bound.items()}
    ids: list[EntityId] = []
    fresh = {claims.tx}
    for root in roots:
        eid = given.get(root)
        if eid is None:
            if root not in subjects:
                ids.append(_NOT_YET)
                continue
            # An attribute's id is its n: it lies in the partition of the schema.
            eid = given[root] = n if root in typed else USER_BASE | n
            if root in typed:
                fresh.add(EntityId(n))
            n += 1
        ids.append(eid)  # type: ignore[arg-type]
    return Resolution(ids, frozenset(fresh), n)


def _check_names(claims: Claims, ids: Sequence[EntityId]) -> None:
    special = claims.special
    for slot, attribute, place in claims.slot_claims.values:
        if ids[~slot] == _NOT_YET:
            claims.problems.add(
                ":db.error/tempid-not-an-entity",
                f"{claims.name_of(slot)} is only used as a value; expected an assertion about it in this transaction",
                place,
                attribute,
            )
    for e, place in (*((claim[0], claim[3]) for claim in special.retracted), *special.doomed):
        if e < 0 and ids[~e] == _NOT_YET:
            claims.problems.add(
                ":db.error/invalid-tx-form",
                f"expected an existing entity to retract from, got {claims.name_of(e)}, of which nothing is asserted",
                place,
            )
    claims.raise_any()


def settle(claims: Claims, ids: Sequence[EntityId]) -> Settled:
    """Return the claims with entities instead of slots."""
    if not ids:  # without slots they are claims of entities already
        return Settled(claims.asserted, claims.special)  # type: ignore[arg-type]
    special: Special[EntityId] = NOT_SPECIAL
    if claims.special is not NOT_SPECIAL:
        special = _settled_special(claims.special, ids)
    return Settled(_settled(claims.asserted, ids), special)


def _settled_special(special: Special[Entity], ids: Sequence[EntityId]) -> Special[EntityId]:
    settled: Special[EntityId] = Special()
    settled.retracted = _settled(special.retracted, ids)
    settled.doomed = [(ids[~e] if e < 0 else EntityId(e), place) for e, place in special.doomed]
    settled.swaps = _settled(special.swaps, ids)
    settled.instants = _settled(special.instants, ids)
    settled.written = _settled(special.written, ids)
    settled.predicated = _settled(special.predicated, ids)
    settled.ensured = _settled(special.ensured, ids)
    settled.required = special.required
    return settled


def _settled(claims: list[Claim], ids: Sequence[EntityId]) -> list[ResolvedClaim]:
    """Return claims with entities instead of slots."""
    return [
        (
            ids[~e] if e < 0 else e,  # type: ignore[misc]
            attribute,
            ids[~v] if attribute.is_ref and v.__class__ is int and v < 0 else v,
            place,
        )
        for e, attribute, v, place in claims
    ]
