"""Reverting: the transaction data that undoes the facts of an earlier transaction.

    asserted then, and no value was replaced              ──► retract
    retracted then, or replaced                            ──► assert again

Facts about the transaction itself, composite tuples and stamps are not reverted: the store derives them.
Law: if a transaction is reverted, the facts of its entities and attributes are those before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from factstore.datom import TX_PARTITION, Datom, partition_of, t_of
from factstore.db.database import check_database
from factstore.errors import TransactError
from factstore.values.quoting import quoted

if TYPE_CHECKING:
    from factstore.db.database import Database

_SHOWN: Final = 5


def revert(db: Database, t: Any) -> list[list[Any]]:
    """Return the transaction data that undoes a transaction of facts.

    Args:
        t: the transaction: t, its entity id, or an aware datetime.
    Returns: list forms, to commit with `if_unchanged_since=db.basis_t`; empty if nothing is to revert. An idempotency
        key of the transaction stays used: to commit its facts again, use another key.
    Raises: TransactError(:db.error/changed-since) with `changed`, the facts that have changed since then or entities
        that were referred to; TransactError(:db.error/unsupported) for a transaction that changed the schema, or values
        without history.

    The store does not record which transaction these forms undo. To record it, add a fact about the new transaction, as
    the command `factstore revert` does: `{":db/id": "datomic.tx", ":db/doc": "reverts t=5"}`.

    >>> from factstore import connect
    >>> with connect("memory:") as conn:
    ...     red = conn.transact([{":db/id": "red", ":db/ident": ":color/red"}]).tempids["red"]
    ...     t = conn.transact([[":db/add", red, ":db/doc", "like a rose"]]).t
    ...     conn.transact(revert(conn.db(), t)).db_after.entity(":color/red").get(":db/doc")
    """
    check_database("revert", db)
    t = db.t_at(t)
    if not 1 <= t <= db.basis_t:
        raise TransactError(
            ":db.error/unsupported", f"no transaction has the t {t}; the newest one has the t {db.basis_t}", t=t
        )
    facts = list(_facts(db, t))
    _check_kinds(db, t, facts)
    changed = [*_changed(db, t, facts), *_referred(db, t, facts)]
    if changed:
        message = f"transaction {t} cannot be reverted, because its facts have changed since: {_shown(db, changed)}"
        raise TransactError(":db.error/changed-since", message, t=t, changed=[tuple(datom) for datom in changed])
    return _inverse(db, facts)


def _facts(db: Database, t: int) -> Iterator[Datom]:
    """Yield the datoms of a transaction that the store does not derive."""
    then = db.as_of(t).since(t - 1).history()
    for attribute in db.schema.attributes:
        if not (attribute.tuple_attrs or attribute.stamp):
            for datom in then.datoms("aevt", attribute.id):
                if partition_of(datom.e) != TX_PARTITION:
                    yield datom


def _check_kinds(db: Database, t: int, facts: list[Datom]) -> None:
    """Reject facts whose earlier values are unknown, and the declarations of attributes."""
    for datom in facts:
        attribute = db.schema.attribute(datom.a)
        if attribute.no_history:
            why = f"{attribute.ident} has no history, so its earlier value is unknown"
        elif db.schema.find(datom.e) is not None:
            why = f"it declares or changes the attribute {db.ident(datom.e)}"
        else:
            continue
        raise TransactError(":db.error/unsupported", f"transaction {t} cannot be reverted: {why}", t=t)


def _changed(db: Database, t: int, facts: list[Datom]) -> Iterator[Datom]:
    """Yield the later datoms about the same facts."""
    later = db.since(t).history()
    for e, a in dict.fromkeys((datom.e, datom.a) for datom in facts):
        is_many = db.schema.attribute(a).many
        values = {datom.v for datom in facts if is_many and (datom.e, datom.a) == (e, a)} if is_many else ()
        for datom in later.datoms("eavt", e, a):
            if not is_many or datom.v in values:
                yield datom


def _referred(db: Database, t: int, facts: list[Datom]) -> Iterator[Datom]:
    """Yield the later references to entities that would have no facts any more."""
    asserted = {datom[:3] for datom in facts if datom.added}
    restored = {datom.e for datom in facts if not datom.added}
    for e in {datom.e for datom in facts} - restored:
        if all(datom[:3] in asserted or _is_derived(db, datom) for datom in db.datoms("eavt", e)):
            yield from (datom for datom in db.since(t).datoms("vaet", e) if datom[:3] not in asserted)


def _shown(db: Database, changed: list[Datom]) -> str:
    """Return the first of the datoms as text, by the transactions that made them."""
    by_t = groupby(sorted(changed, key=_by_t)[:_SHOWN], key=_t)
    texts = [f"by t={t} {', '.join(_text(db, datom) for datom in datoms)}" for t, datoms in by_t]
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return "; ".join(texts) + more


def _t(datom: Datom) -> int:
    return t_of(datom.tx)


def _by_t(datom: Datom) -> tuple[int, bool]:
    return _t(datom), datom.added  # retractions first, as elsewhere


def _text(db: Database, datom: Datom) -> str:
    return f"{'+' if datom.added else '-'}[{datom.e} {db.ident(datom.a)} {quoted(datom.v)}]"


def _is_derived(db: Database, datom: Datom) -> bool:
    attribute = db.schema.attribute(datom.a)
    return bool(attribute.tuple_attrs or attribute.stamp)


def _inverse(db: Database, facts: list[Datom]) -> list[list[Any]]:
    back = [datom for datom in facts if not datom.added]
    replaced = {(datom.e, datom.a) for datom in back if not db.schema.attribute(datom.a).many}
    now = {(datom.e, datom.a): datom.v for datom in facts if datom.added}
    forms: list[list[Any]] = []
    for datom in back:
        attribute = db.schema.attribute(datom.a)
        if attribute.cas_only:
            forms.append([":db/cas", datom.e, attribute.ident, now.get((datom.e, datom.a)), datom.v])
        else:
            forms.append([":db/add", datom.e, attribute.ident, datom.v])
    for datom in facts:
        if datom.added and (datom.e, datom.a) not in replaced:
            forms.append([":db/retract", datom.e, db.schema.attribute(datom.a).ident, datom.v])
    return forms
