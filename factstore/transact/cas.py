"""Compare and swap: of one value (:db/cas), and of all that a transaction changes (if_unchanged_since).

For if_unchanged_since the entities that a transaction changes must not have changed since the caller read them. These
are the entities of all its assertions and retractions, even of those without effect, and the entities of all its
datoms. The transaction itself, new entities, and entities that are only referred to do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from factstore.datom import Fact, tx_of
from factstore.db.database import Point
from factstore.errors import CasFailed
from factstore.schema.attribute import Attribute
from factstore.transact.expand import Claims
from factstore.transact.forms import Place
from factstore.transact.stages import Changes, ResolvedClaim, Settled
from factstore.values.quoting import quoted
from factstore.values.types import Stored


def check_swaps(claims: Claims, swaps: Sequence[ResolvedClaim]) -> None:
    """Report each :db/cas whose expected value is not the one in the database before."""
    view = claims.db.view
    for e, attribute, expected, place in swaps:
        values = view.values_of(e, attribute.id)
        value = values[0] if values else None
        if value != expected:
            facts = view.facts_of(e, attribute.id)
            since = f" (since t={facts[0][3]})" if facts else ""
            claims.problems.add(
                ":db.error/cas-failed",
                f":db/cas expected {attribute.ident} of entity {e} to be {_read(attribute, expected)}, "
                f"found {_read(attribute, value)}{since}",
                place,
                attribute,
                CasFailed,
                entity=e,
                expected=None if expected is None else attribute.load(expected),
                found=None if value is None else attribute.load(value),
                datom=(e, attribute.ident, attribute.load(value), tx_of(facts[0][3]), True) if facts else None,
            )


def _read(attribute: Attribute, stored: Stored | None) -> str:
    return "absent" if stored is None else quoted(attribute.load(stored))


def check_unchanged(claims: Claims, settled: Settled, changes: Changes, since: Point) -> None:
    """Check that no such entity has gained or lost a fact after a point.

    Raises: TransactError(:db.error/changed-since), with all these entities.
    """
    db = claims.db
    t = db.t_at(since)
    history = db.view.cut(is_history=True)
    for e, place in _subjects(claims, settled, changes).items():
        newest = max(history.facts_about(e), key=_time, default=None)
        if newest is None or newest[3] <= t:
            continue
        attribute = claims.schema.attribute(newest[1])
        value = attribute.load(newest[2])
        claims.problems.add(
            ":db.error/changed-since",
            f"expected entity {e} as it was at t={t}, but {attribute.ident} {quoted(value)} was "
            f"{'asserted' if newest[4] else 'retracted'} at t={newest[3]}",
            place,
            attribute,
            entity=e,
            since=t,
            datom=(e, attribute.ident, value, tx_of(newest[3]), newest[4]),
        )
    claims.raise_any()


def _time(fact: Fact) -> tuple[int, bool]:
    return fact[3], fact[4]


def _subjects(claims: Claims, settled: Settled, changes: Changes) -> dict[int, Place | None]:
    """Return the entities that a transaction changes, with the places of their claims."""

    def with_places() -> Iterator[tuple[int, Place | None]]:
        for e, _, _, place in (*settled.asserted, *settled.special.retracted):
            yield e, place
        yield from settled.special.doomed
        for fact in changes.facts:
            yield fact[0], None

    subjects: dict[int, Place | None] = {}
    for e, place in with_places():
        if e != claims.tx and e < claims.first_fresh:
            subjects.setdefault(e, place)
    return subjects
