"""The facts that the settled claims of a transaction add and retract.

First conflicts are detected: a transaction is a set, so no claim overrides another. Then facts that exist already are
left out, replaced values are retracted, and composite tuples are derived from their members.

Law: on top of the database before, the facts make all claims true and change nothing else. Each fact is a change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from factstore.datom import Fact
from factstore.schema.attribute import CAS_ONLY, FIRST_FREE_ID, INSERT_ONLY, OF_TRANSACTIONS, TX_INSTANT, Attribute
from factstore.transact.before import ValuesOf, values_before
from factstore.transact.expand import Claims
from factstore.transact.forms import Place, steps_of
from factstore.transact.stages import ALL, REST, Changes, EntityId, Key, ResolvedClaim, Settled
from factstore.values.quoting import quoted
from factstore.values.types import Stored

_UNTOUCHED: Final = object()


class _Changing:
    """Builds the facts of one transaction."""

    __slots__ = (
        "claims",
        "facts",
        "fresh",
        "gone",
        "had",
        "holds",
        "inserted",
        "judged",
        "retracted",
        "t",
        "uniques",
        "values_of",
    )

    def __init__(self, claims: Claims, settled: Settled, fresh: frozenset[EntityId], instant: int) -> None:
        self.claims = claims
        self.fresh = fresh
        self.t = claims.db.basis_t + 1
        self.facts: list[Fact] = [(claims.tx, TX_INSTANT, instant, self.t, True)]
        self.uniques: list[Fact] = []
        self.gone: set[Key] = set()
        self.retracted: dict[Key, Place] = {}  # facts named in a retraction, whether they exist or not
        self.values_of: ValuesOf = values_before(claims.db, settled.asserted, claims.first_fresh)
        # Values that only :db/cas may replace, and that it replaces here, or that are reported as a problem.
        self.judged = {(e, attribute.id) for e, attribute, _, _ in settled.special.swaps if attribute.cas_only}
        self.inserted: dict[tuple[int, int], Collection[Stored]] = {}  # values of insert-only attributes
        self.had: dict[tuple[int, int], str] = {}  # since when entities have their values of insert-only attributes
        self.holds = claims.db.view.holds  # for attributes of cardinality many, of which one value is needed

    def retract(
        self,
        retracted: Sequence[ResolvedClaim],
        doomed: Sequence[tuple[EntityId, Place]],
        asserted: Sequence[ResolvedClaim],
    ) -> None:
        """Retract the named facts, as far as they exist."""
        stated = _by_subject(asserted) if any(v is REST for _, _, v, _ in retracted) else {}
        for claim in retracted:
            e, attribute, v, place = claim
            a = attribute.id
            if v is REST:
                self._retract_rest(claim, stated.get((e, a), ()))
                continue
            for value in self.values_of(e, a) if v is ALL else (v,):
                self.retracted[e, a, value] = place
                if v is ALL or (self.holds(e, a, v) if attribute.many else v in self.values_of(e, a)):
                    self._remove(e, a, value)
                    self._guard(e, a, place)
        for e, place in doomed:
            for owner, a, v, _, _ in self._belongings(e):
                if not self.claims.schema.attribute(a).tuple_attrs:
                    self.claims.touches_schema |= a < FIRST_FREE_ID
                    self.retracted[owner, a, v] = place
                    self._remove(owner, a, v)
                    self._guard(owner, a, place)

    def _retract_rest(self, claim: ResolvedClaim, stated: Sequence[ResolvedClaim]) -> None:
        """Retract all values but those of a :db/setExactly; `stated` has the assertions of the same attribute."""
        e, attribute, _, place = claim
        steps, a = steps_of(place), attribute.id
        own = {other[2] for other in stated if steps_of(other[3])[: len(steps)] == steps}
        for other in stated:
            if other[2] not in own:
                self._one_too_many(claim, other)
        for value in self.values_of(e, a):
            if value not in own:
                self.retracted[e, a, value] = place
                self._remove(e, a, value)

    def _remove(self, e: int, a: int, v: Stored) -> None:
        if (e, a, v) not in self.gone:
            self.gone.add((e, a, v))
            self.facts.append((e, a, v, self.t, False))

    def _guard(self, e: int, a: int, place: Place) -> None:
        if a == TX_INSTANT:
            self.claims.problems.add(
                ":db.error/datom-cannot-be-altered",
                f"the :db/txInstant of a transaction cannot be retracted, got that of transaction {e}",
                place,
                entity=e,
            )

    def _belongings(self, e: int) -> Iterator[Fact]:
        """Yield the facts of an entity and its components, and the facts that refer to any of them."""
        view, schema = self.claims.db.view, self.claims.schema
        seen, waiting = {e}, [e]
        while waiting:
            one = waiting.pop()
            for fact in view.facts_about(one):
                yield fact
                if schema.attribute(fact[1]).is_component and fact[2] not in seen:
                    seen.add(fact[2])
                    waiting.append(fact[2])
            # The facts of a transaction itself, such as what it excised, stay.
            yield from (fact for fact in view.facts_referring(one) if fact[1] not in OF_TRANSACTIONS)

    def assert_(self, asserted: Sequence[ResolvedClaim]) -> None:
        """Assert the claims whose facts do not exist yet, and retract the values that they replace."""
        first_fresh, fresh, t, retracted = self.claims.first_fresh, self.fresh, self.t, self.retracted
        values_of, holds, add, gone, uniques = self.values_of, self.holds, self.facts.append, self.gone, self.uniques
        seen: dict[tuple[Any, ...], ResolvedClaim] = {}
        claim_of = seen.setdefault
        for claim in asserted:
            e, attribute, v, _ = claim
            a, many, unique = attribute.id, attribute.many, attribute.unique
            first = claim_of((e, a, v) if many else (e, a), claim)
            if first is not claim:
                if first[2] != v:
                    self._two_values(first, claim)
                continue
            if retracted and (e, a, v) in retracted:
                self._both_ways(claim)
                continue
            if many and not attribute.insert_only:
                if e < first_fresh and e not in fresh and holds(e, a, v):
                    continue
            elif e < first_fresh and e not in fresh:
                values: Collection[Stored] = self._inserted_values(e, a) if many else values_of(e, a)
                if values:
                    value = next(iter(values))
                    if attribute.insert_only:
                        self._inserted_before(claim, value)
                    if v in values:
                        continue
                    if attribute.cas_only and (e, a) not in self.judged:
                        self._replaced(claim, value)
                    if not many and (e, a, value) not in gone:
                        add((e, a, value, t, False))
                        if unique is not None:
                            gone.add((e, a, value))
            fact = (e, a, v, t, True)
            add(fact)
            if unique is not None:
                uniques.append(fact)

    def _inserted_values(self, e: int, a: int) -> Collection[Stored]:
        """Return the values of an insert-only attribute of cardinality many, read once per entity."""
        values = self.inserted.get((e, a))
        if values is None:
            values = self.inserted[e, a] = dict.fromkeys(self.values_of(e, a))
        return values

    def compose(self, asserted: Sequence[ResolvedClaim]) -> None:
        """Derive composite tuples from their members; asserting a member again creates a tuple that is missing."""
        of = self.claims.schema.composites_of
        touched: dict[tuple[int, Attribute], None] = {
            (e, composite): None for e, attribute, _, _ in asserted for composite in of(attribute.id)
        }
        touched.update(((e, composite), None) for e, a, _ in self.retracted for composite in of(a))
        if not touched:
            return
        after: dict[tuple[int, int], Stored] = {}
        for e, a, v, _, added in self.facts:
            if added:
                after[e, a] = v
            else:
                after.setdefault((e, a), None)
        for e, composite in touched:
            self._compose(e, composite, after)

    def _compose(self, e: int, composite: Attribute, after: dict[tuple[int, int], Stored]) -> None:
        slots = tuple(self._after(e, member, after) for member in composite.members)
        values = self._values_before(e, composite.id)
        if values:
            if values[0] == slots:
                return
            self._remove(e, composite.id, values[0])
        if any(slot is not None for slot in slots):
            fact = (e, composite.id, slots, self.t, True)
            self.facts.append(fact)
            if composite.unique is not None:
                self.uniques.append(fact)

    def _after(self, e: int, a: int, after: dict[tuple[int, int], Stored]) -> Stored:
        value = after.get((e, a), _UNTOUCHED)
        if value is not _UNTOUCHED:
            return value
        values = self._values_before(e, a)
        return values[0] if values else None

    def _values_before(self, e: int, a: int) -> tuple[Stored, ...]:
        return () if e >= self.claims.first_fresh or e in self.fresh else self.values_of(e, a)

    # -- conflicts

    def _two_values(self, one: ResolvedClaim, other: ResolvedClaim) -> None:
        (e, attribute, v, place), (_, _, w, there) = one, other
        first, second = attribute.load(v), attribute.load(w)
        problems = self.claims.problems
        problems.add(
            ":db.error/datoms-conflict",
            f"{attribute.ident} of entity {e} takes one value, this transaction asserts {quoted(first)} "
            f"(at {problems.locate(place, attribute)[0]}) and {quoted(second)}{self._before(e, attribute)}",
            there,
            attribute,
            entity=e,
            datoms=(
                (e, attribute.ident, first, self.claims.tx, True),
                (e, attribute.ident, second, self.claims.tx, True),
            ),
        )

    def _one_too_many(self, exact: ResolvedClaim, claim: ResolvedClaim) -> None:
        (e, attribute, _, place), (_, _, v, there) = exact, claim
        value, problems = attribute.load(v), self.claims.problems
        problems.add(
            ":db.error/datoms-conflict",
            f"{attribute.ident} {quoted(value)} of entity {e} is asserted, but not among the values of :db/setExactly "
            f"(at {problems.locate(place)[0]})",
            there,
            attribute,
            entity=e,
            datoms=((e, attribute.ident, value, self.claims.tx, True),),
        )

    def _both_ways(self, claim: ResolvedClaim) -> None:
        e, attribute, v, place = claim
        value, problems = attribute.load(v), self.claims.problems
        retracted_at = problems.locate(self.retracted[e, attribute.id, v])[0]
        problems.add(
            ":db.error/datoms-conflict",
            f"{attribute.ident} {quoted(value)} of entity {e} is asserted and retracted (at {retracted_at}) "
            f"by the same transaction{self._before(e, attribute)}",
            place,
            attribute,
            entity=e,
            datoms=(
                (e, attribute.ident, value, self.claims.tx, True),
                (e, attribute.ident, value, self.claims.tx, False),
            ),
        )

    def _inserted_before(self, claim: ResolvedClaim, known: Stored) -> None:
        e, attribute, v, place = claim
        had = self.had.get((e, attribute.id))  # read once per entity, not per value
        if had is None:
            had = self.had[e, attribute.id] = f"entity {e}{self._identities(e)} has it{self._since(e, attribute)}"
        self.claims.problems.add(
            ":db.error/already-inserted",
            f"{attribute.ident} is asserted of new entities only ({INSERT_ONLY}); {had}",
            place,
            attribute,
            entity=e,
            known=attribute.load(known),
            value=attribute.load(v),
        )

    def _replaced(self, claim: ResolvedClaim, known: Stored) -> None:
        value = claim[1].load(claim[2])
        self.judged.add((claim[0], claim[1].id))
        self._cas_only(claim, known, f"got {quoted(value)}", value=value)

    def check_taken(self, retracted: Sequence[ResolvedClaim]) -> None:
        """Report each value that only :db/cas may replace, and that is retracted while its entity stays."""
        guarded = [claim for claim in retracted if claim[1].cas_only]
        values_of, attributes = self.values_of, self.claims.schema.attributes if guarded else ()
        lasting = [attribute for attribute in attributes if attribute.is_identity or attribute.cas_only]
        for claim in guarded:
            e, attribute, _, _ = claim
            removed = [v for v in values_of(e, attribute.id) if (e, attribute.id, v) in self.gone]
            if not removed or (e, attribute.id) in self.judged:
                continue
            # An entity goes if it has an identity, and all its identities and values of this kind are retracted.
            values = [(other, v) for other in lasting for v in values_of(e, other.id)]
            has_identity = any(other.is_identity for other, _ in values)
            if not (has_identity and all((e, other.id, v) in self.gone for other, v in values)):
                self._cas_only(claim, removed[0], "got its retraction; it goes with its entity, by :db/retractEntity")

    def _cas_only(self, claim: ResolvedClaim, known: Stored, got: str, **data: Any) -> None:
        e, attribute, _, place = claim
        hint = "" if attribute.doc is None else f"; about {attribute.ident}: {attribute.doc.removesuffix('.')}"
        self.claims.problems.add(
            ":db.error/cas-only",
            f"{attribute.ident} of entity {e}{self._identities(e)} is replaced only by :db/cas ({CAS_ONLY}); "
            f"it is {quoted(attribute.load(known))}{self._since(e, attribute)}, {got}{hint}",
            place,
            attribute,
            entity=e,
            known=attribute.load(known),
            **data,
        )

    def _identities(self, e: int) -> str:
        """Return the unique identities of an entity, for a message."""
        view = self.claims.db.view
        identities = [
            attribute
            for attribute in self.claims.schema.attributes
            if attribute.is_identity and attribute.id >= FIRST_FREE_ID
        ]
        names = [f"{each.ident} {quoted(each.load(v))}" for each in identities for v in view.values_of(e, each.id)]
        return f" ({', '.join(names)})" if names else ""

    def _since(self, e: int, attribute: Attribute) -> str:
        began = [t for _, _, _, t, _ in self.claims.db.view.facts_of(e, attribute.id)]
        return f" since t={min(began)}" if began else ""

    def _before(self, e: int, attribute: Attribute) -> str:
        facts = [] if attribute.many else self.claims.db.view.facts_of(e, attribute.id)
        return "".join(f"; it was {quoted(attribute.load(v))} since t={t}" for _, _, v, t, _ in facts)


def _by_subject(asserted: Sequence[ResolvedClaim]) -> dict[tuple[int, int], list[ResolvedClaim]]:
    """Return the claims by entity and attribute."""
    stated: dict[tuple[int, int], list[ResolvedClaim]] = {}
    for claim in asserted:
        stated.setdefault((claim[0], claim[1].id), []).append(claim)
    return stated


def datoms(claims: Claims, settled: Settled, fresh: frozenset[EntityId], instant: int) -> Changes:
    """Return the facts that settled claims add and retract.

    Args:
        fresh: new entities whose ids are outside the users' partition.
        instant: of the transaction, in microseconds since 1970.
    Raises: TransactError(:db.error/datoms-conflict), with all conflicts.
    """
    changing = _Changing(claims, settled, fresh, instant)
    special = settled.special
    if special.retracted or special.doomed:
        changing.retract(special.retracted, special.doomed, settled.asserted)
    changing.assert_(settled.asserted)
    if special.retracted:
        changing.check_taken(special.retracted)
    claims.raise_any()
    if claims.schema.has_composites:
        changing.compose(settled.asserted)
    return Changes(changing.facts, changing.uniques, changing.gone)
