"""Transactions: from the forms of a caller to facts. All of it is pure: this package commits nothing.

    forms      the forms as written                     functions  transaction functions, which return forms
    expand     forms → claims                           terms      ids, idents, lookup refs and values in a claim
    resolve    tempids → entities                       before     reads of the database before
    changes    claims → facts; conflicts                stamps     times of creation and last change
    check      conditions before and after              cas        :db/cas and `if_unchanged_since`
    direct     all of this in one pass over the forms, for almost all transactions
    stages     the types that the stages pass on        report     the result for the caller

Law: a transaction is a set, evaluated against the database before it. The order of its forms has no effect.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

from factstore.db.database import Database, Point, check_database
from factstore.db.snapshot import Snapshot, database_of
from factstore.errors import DatabaseError, TransactError
from factstore.registry import lookup
from factstore.transact.cas import check_unchanged
from factstore.transact.changes import datoms
from factstore.transact.check import check_after, check_before, check_outcome
from factstore.transact.direct import Newest, prepare_directly
from factstore.transact.expand import expand
from factstore.transact.forms import read_forms, set_exactly
from factstore.transact.registered_functions import Cancelled, Functions, called_at, cancel, tx_clock, tx_instant
from factstore.transact.report import TxReport, report
from factstore.transact.resolve import resolve, settle
from factstore.transact.stages import Preparation, Prepared
from factstore.transact.stamps import stamp
from factstore.values.quoting import quoted
from factstore.values.types import instant_to_micros

__all__ = [
    "Cancelled",
    "Newest",
    "Nones",
    "Preparation",
    "Prepared",
    "TxReport",
    "cancel",
    "check_nones",
    "prepare",
    "prepare_in_stages",
    "prepare_list",
    "report",
    "set_exactly",
    "tx_clock",
    "tx_instant",
    "with_",
]

Nones: TypeAlias = Literal["reject", "retract"]  # what None in a map form means


def prepare(
    before: Snapshot | Database,
    tx_data: Any,
    *,
    now: int,
    functions: Functions = lookup,
    none: Nones = "reject",
    if_unchanged_since: Point | None = None,
) -> Prepared:
    """Return the facts that tx-data asserts and retracts on top of a database.

    Args:
        now: the clock, in microseconds since 1970.
        functions: returns the transaction function or predicate of a name.
        none: the meaning of None in a map form.
        if_unchanged_since: reject the transaction if an entity that it changes has newer facts.
    Raises: TransactError; its data contains the path in the tx-data, and all problems if there are several.
    """
    try:
        forms = tx_data if type(tx_data) is list else read_forms(tx_data)
    except RecursionError as error:
        raise _too_deep() from error
    return prepare_directly(forms, before, now, functions, if_unchanged_since) or prepare_in_stages(
        database_of(before), forms, now, functions=functions, none=none, if_unchanged_since=if_unchanged_since
    )


def prepare_list(forms: list[Any], before: Snapshot, now: int) -> Prepared:
    """Do the same as `prepare` for a list of forms without conditions."""
    return prepare_directly(forms, before, now) or prepare_in_stages(before.database, forms, now)


def prepare_in_stages(
    db: Database,
    forms: list[Any],
    now: int,
    *,
    functions: Functions = lookup,
    none: Nones = "reject",
    if_unchanged_since: Point | None = None,
) -> Prepared:
    """Do the same as `prepare` for any forms, stage by stage."""
    try:
        claims = called_at(
            max(now, db.last_instant), now, expand, db, forms, functions, none_retracts=none == "retract"
        )
    except RecursionError as error:
        raise _too_deep() from error
    ids, fresh, next_n = resolve(claims)
    settled = settle(claims, ids)
    instant = check_before(claims, settled, functions, now)
    changes = datoms(claims, settled, fresh, instant)
    if db.schema.stamps:
        stamp(claims, changes, instant)
    check_after(claims, settled, changes)
    if if_unchanged_since is not None:
        check_unchanged(claims, settled, changes, if_unchanged_since)
    if settled.special.ensured or settled.special.required:
        check_outcome(claims, settled, db.plus(changes.facts, instant=instant, next_n=next_n), functions)
    return Prepared(
        changes.facts, {name: ids[~slot] for name, slot in claims.named.items() if ids[~slot] >= 0}, next_n, instant
    )


def _too_deep() -> TransactError:
    text = "expected tx-data that is not nested too deep for Python's stack, and does not contain itself"
    return TransactError(":db.error/invalid-tx-data", text, path="tx-data")


def check_nones(none: object) -> None:
    """Check the option `none`. Raises: TransactError(:db.error/invalid-option)."""
    if not isinstance(none, str) or none not in ("reject", "retract"):
        raise TransactError(
            ":db.error/invalid-option", f'none is "reject" or "retract", got {quoted(none)}', option="none", value=none
        )


def with_(db: Database, tx_data: Any, *, none: Nones = "reject", now: datetime | None = None) -> TxReport:
    """Return the report of a transaction on top of a database, without committing it.

    To chain calls, pass `db_after` to the next one. The transaction uses all facts up to the basis of the database;
    `as_of`, `since` and filters then apply to the result. The added facts are later than the time of an `as_of`, so
    such a database does not show them: to continue from a past database, use `db.branch`.

    Args:
        none: "retract": None in a map form retracts the values of the attribute, as for `transact`.
        now: the time of the transaction, an aware datetime; None: the time of this machine's clock.
    Raises: TransactError as `transact` does; DatabaseError(:db.error/history-not-supported) for a history database,
        DatabaseError(:db.error/invalid-clock) for another `now`.
    Source: Datomic API, with.

    >>> import factstore
    >>> db = factstore.connect("memory:").db()
    >>> [datom.v for datom in with_(db, [{":db/ident": ":color/red"}]).tx_data][1:]
    [:color/red]
    """
    check_nones(none)
    check_database("with_", db)
    if db.is_history:
        raise DatabaseError(
            ":db.error/history-not-supported",
            "with_ needs a database, got a history, which also contains facts that no longer hold",
        )
    before = _whole(db)
    prepared = prepare(before, tx_data, now=time.time_ns() // 1000 if now is None else _micros(now), none=none)
    after = before.plus(prepared.facts, instant=prepared.instant, next_n=prepared.next_n)
    if db.as_of_t is not None:
        after = replace(after, view=after.view.cut(upto=db.view.upto), as_of_t=db.as_of_t)
    if db.since_t is not None:
        after = replace(after, view=after.view.cut(after=db.view.after))
    if db.predicates:
        after = after.filtered_by(db.predicates)
    return report(db, after, prepared.facts, prepared.tempids)


def _micros(now: object) -> int:
    if not isinstance(now, datetime) or now.tzinfo is None:
        raise DatabaseError(
            ":db.error/invalid-clock", f"with_ takes an aware datetime as now, got {quoted(now)}", got=now
        )
    return instant_to_micros(now)


def _whole(db: Database) -> Database:
    """Return the database without its time limits and filters."""
    if db.as_of_t is None and db.since_t is None and not db.is_filtered:
        return db
    view = db.view.cut(upto=db.basis_t, after=-1, keep=None)
    return replace(db, view=view, as_of_t=None, predicates=())
