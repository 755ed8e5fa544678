"""The conditions under which a transaction is accepted.

Before its facts are known: the expected values of :db/cas (cas.py), attribute predicates, its instant. After that:
uniqueness, composite tuples written by hand, the schema, entity specs and :db/require. Law: a check changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factstore.datom import Fact, tx_of
from factstore.db.database import Database
from factstore.errors import SchemaError, UniqueConflict
from factstore.schema.alter import violations
from factstore.schema.attribute import ENTITY_PREDS
from factstore.transact.before import BULK
from factstore.transact.cas import check_swaps
from factstore.transact.expand import Claims
from factstore.transact.forms import Place, shown
from factstore.transact.registered_functions import Cancelled, Functions
from factstore.transact.stages import NOT_SPECIAL, Changes, ResolvedClaim, Settled
from factstore.values.quoting import quoted
from factstore.values.types import Stored, micros_to_instant, plain


def check_before(claims: Claims, settled: Settled, functions: Functions, now: int) -> int:
    """Return the instant of the transaction, after the checks that need no facts. Raises: TransactError."""
    special = settled.special
    instant = _instant(claims, special.instants, now)
    if special is not NOT_SPECIAL:
        check_swaps(claims, special.swaps)
        _check_predicates(claims, special.predicated, functions)
        claims.raise_any()
    return instant


def check_after(claims: Claims, settled: Settled, changes: Changes) -> None:
    """Check the facts. Raises: TransactError, the first of all problems."""
    if changes.uniques:
        _check_unique(claims, settled.asserted, changes)
    if settled.special.written:
        _check_written(claims, settled.special.written, changes.facts)
    if claims.touches_schema:
        _check_schema(claims, [*settled.asserted, *settled.special.retracted], changes.facts)
    claims.raise_any()


# -- before the facts are known


def _check_predicates(claims: Claims, predicated: Sequence[ResolvedClaim], functions: Functions) -> None:
    """Report each value that a predicate of its attribute rejects; only the result True accepts it."""
    for _, attribute, stored, place in predicated:
        for name in attribute.preds:
            answer, why = _ask(functions, name, attribute.load(stored))
            if answer is not True:
                claims.problems.add(
                    ":db.error/attr-pred",
                    f"{attribute.ident} takes values for which {name} is true, it {why} for "
                    f"{shown(attribute.load(stored))}",
                    place,
                    attribute,
                    predicate=name,
                    got=attribute.load(stored),
                    pred_return=answer,
                )


def _ask(functions: Functions, name: str, *arguments: Any) -> tuple[Any, str]:
    """Return the result of a predicate, and the same in words."""
    function = functions(name)
    if function is None:
        return None, "is not registered"
    try:
        answer = plain(function(*arguments))  # numpy's True is true
    except Cancelled:
        raise
    except Exception as error:
        return None, f"raised {type(error).__name__}: {error}"
    return answer, f"returned {quoted(answer)}"


def _instant(claims: Claims, instants: Sequence[ResolvedClaim], now: int) -> int:
    """Return the instant in microseconds: the asserted one, or the clock, but never before the last transaction."""
    last = claims.db.last_instant
    if not instants:
        return max(now, last)
    problems = claims.problems
    chosen: int | None = None
    for e, attribute, instant, place in instants:
        wanted = micros_to_instant(instant).isoformat()
        if e != claims.tx:
            problems.add(
                ":db.error/datom-cannot-be-altered",
                f'{attribute.ident} belongs to the transaction itself ("datomic.tx"), got entity {e}',
                place,
                attribute,
                entity=e,
            )
        elif chosen is not None and chosen != instant:
            problems.add(
                ":db.error/datoms-conflict",
                f"a transaction has one {attribute.ident}, got {micros_to_instant(chosen).isoformat()} and {wanted}",
                place,
                attribute,
            )
        elif instant < last:
            earliest = micros_to_instant(last)
            text = f"expected an instant at or after the last transaction's {earliest.isoformat()}, got {wanted}"
            problems.add(":db.error/past-tx-instant", text, place, attribute, expected=earliest)
        elif instant > now:
            text = f"expected an instant that the clock has reached, got {wanted}"
            problems.add(":db.error/future-tx-instant", text, place, attribute, clock=micros_to_instant(now))
        chosen = instant
    return last if chosen is None else chosen


# -- after the facts are known


def _check_unique(claims: Claims, asserted: Sequence[ResolvedClaim], changes: Changes) -> None:
    """Report each unique value that would have two holders in the database after."""
    _, uniques, gone = changes
    holders = claims.holders
    if len(uniques) >= BULK:
        holders.fetch((fact[1], fact[2]) for fact in uniques)
    first: dict[tuple[int, Stored], Fact] = {}
    places = _Places(asserted)
    for fact in uniques:
        e, a, v, t, _ = fact
        other = first.setdefault((a, v), fact)
        if other is not fact:
            _taken(claims, places, fact, other[0], t)
            continue
        for holder in holders.of(a, v):
            if holder != e and (holder, a, v) not in gone:
                since = next(other[3] for other in claims.db.view.facts_with(a, v) if other[0] == holder)
                _taken(claims, places, fact, holder, since)


def _taken(claims: Claims, places: _Places, fact: Fact, holder: int, since: int) -> None:
    e, a, v, t, _ = fact
    attribute = claims.schema.attribute(a)
    value = attribute.load(v)
    when = "in this very transaction" if since == t else f"since t={since}"
    hint = "" if attribute.is_identity else "; :db.unique/value does not upsert"
    claims.problems.add(
        ":db.error/unique-conflict",
        f"{attribute.ident} {quoted(value)} would belong to entity {e}, but entity {holder} has it {when}{hint}",
        places.of(e, a, v),
        attribute,
        UniqueConflict,
        value=value,
        entities=(e, holder),
        datoms=((e, attribute.ident, value, tx_of(t), True), (holder, attribute.ident, value, tx_of(since), True)),
    )


class _Places:
    """The places of claims, collected at the first problem; there can be as many problems as claims."""

    def __init__(self, claims: Sequence[ResolvedClaim]) -> None:
        self._claims = claims
        self._places: dict[tuple[Any, ...], Place] = {}  # of the first claim of a fact, an attribute, an entity

    def of(self, e: int, a: int | None = None, v: Stored = None) -> Place | None:
        """Return the place of the claim of a fact, or of another claim of its entity; None if there is none."""
        if not self._places:
            for entity, attribute, value, place in self._claims:
                for key in ((entity, attribute.id, value), (entity, attribute.id), (entity,)):
                    self._places.setdefault(key, place)
        keys = ((e, a, v), (e, a), (e,)) if v is not None else ((e, a), (e,))
        return next((self._places[key] for key in keys if key in self._places), None)


def _check_written(claims: Claims, written: Sequence[ResolvedClaim], facts: Sequence[Fact]) -> None:
    """Report each composite tuple that was written and differs from the tuple of its members."""
    for e, attribute, v, place in written:
        own = [fact for fact in facts if fact[0] == e and fact[1] == attribute.id]
        asserted = [fact[2] for fact in own if fact[4]]
        value = asserted[0] if asserted else next(iter(() if own else claims.db.view.values_of(e, attribute.id)), None)
        if value != v:
            members = ", ".join(attribute.tuple_attrs)
            claims.problems.add(
                ":db.error/composite-tuple-write",
                f"{attribute.ident} is made of {members}, which make it {quoted(value)}, got {quoted(v)}; "
                "write the members, the tuple follows",
                place,
                attribute,
                expected=value,
                got=v,
            )


def _check_schema(claims: Claims, stated: Sequence[ResolvedClaim], facts: Sequence[Fact]) -> None:
    """Report each attribute that cannot be installed, or altered in this way."""
    view = claims.db.view

    def rows_of(a: int) -> list[tuple[int, Stored]]:
        rows = view.by_entity(a)
        return list(zip(rows.e.tolist(), rows.v.tolist(), strict=True))

    places = _Places(stated)
    for violation in violations(claims.schema, facts, rows_of):
        e, a = violation.eid, violation.a
        place = places.of(e, a)
        attribute = None if a is None else claims.schema.find(a)
        claims.problems.add(
            violation.code, violation.message, place, attribute, SchemaError, entity=e, **violation.data
        )


def check_outcome(claims: Claims, settled: Settled, db_after: Database, functions: Functions) -> None:
    """Check :db/ensure and :db/require in the database after. Raises: TransactError, with all that fail."""
    for claim in settled.special.ensured:
        _check_spec(claims, claim, db_after, functions)
    for predicate, arguments, place in settled.special.required:
        _check_required(claims, predicate, arguments, place, db_after, functions)
    claims.raise_any()


def _check_required(
    claims: Claims, predicate: Any, arguments: Sequence[Any], place: Place, db_after: Database, functions: Functions
) -> None:
    name = (
        predicate.removeprefix(":")
        if isinstance(predicate, str)
        else getattr(predicate, "__qualname__", quoted(predicate))
    )
    answer, why = _ask(functions if isinstance(predicate, str) else lambda _: predicate, name, db_after, *arguments)
    if answer is not True:
        claims.problems.add(
            ":db.error/requirement-failed",
            f"the transaction requires {name} to be true of the database after it, it {why}",
            place,
            predicate=name,
            arguments=tuple(arguments),
            pred_return=answer,
        )


def _check_spec(claims: Claims, claim: ResolvedClaim, db_after: Database, functions: Functions) -> None:
    e, attribute, spec, place = claim
    schema = db_after.schema
    wanted, predicates = schema.required(spec), schema.properties(spec).get(ENTITY_PREDS, frozenset())
    name = schema.ident(spec) or spec
    if not wanted and not predicates:
        claims.problems.add(
            ":db.error/not-an-entity-spec",
            f"expected an entity spec, with :db.entity/attrs or :db.entity/preds; {name} has neither",
            place,
            attribute,
            spec=name,
        )
    missing = (
        [(a and schema.ident(a)) or key for key, a in wanted.items() if not _has(db_after, e, a)] if wanted else []
    )
    if missing:
        claims.problems.add(
            ":db.error/entity-attr",
            f"{name} asks for {', '.join(missing)}, which entity {e} would lack",
            place,
            attribute,
            spec=name,
            entity=e,
            missing=tuple(missing),
        )
    for predicate in sorted(predicates):
        answer, why = _ask(functions, predicate, db_after, e)
        if answer is not True:
            claims.problems.add(
                ":db.error/entity-pred",
                f"{name} asks that {predicate} be true of entity {e}, it {why}",
                place,
                attribute,
                spec=name,
                entity=e,
                predicate=predicate,
                pred_return=answer,
            )


def _has(db: Database, e: int, a: int | None) -> bool:
    return a is not None and db.schema.find(a) is not None and bool(db.view.values_of(e, a))
