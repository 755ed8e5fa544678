"""Reverting a transaction's changes of jobs, for the jobs that have not changed since.

The components of a job belong to it: its waits, with their questions and answers, and its steps. Other facts of that
transaction stay. Law: if a transaction is reverted at once, the facts of the jobs are the same as before it, except for
jobs that were started then: their attempts are lost, so they become unstarted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import Datom, TransactError
from overseer.jobs import lookup, txns
from overseer.jobs.states import CRASHES, LIVE, STARTED, UNSTARTED, Forms
from overseer.sources import of_connection, of_database

if TYPE_CHECKING:
    from factstore import Connection, Database

MOVED_ON: Final = ":job.error/moved-on"


@of_database
def revert(db: Database, t: int, *, by: str | None = None) -> Forms:
    """Return the transaction that reverts transaction t for the jobs that have not changed since; it may be empty.

    The waits and the steps of a job are reverted with it: an answer that no worker has seen yet is withdrawn, and its
    question is open again.

    Args:
        t: the transaction, as t or as its entity id.
        by: the name of the operator, stored on the new transaction.

    A job that would be live again while another live job has its unique key is left as it is.
    The transaction is rejected with `:job.error/moved-on` if one of the jobs changed before it was committed, and with
    `:job.error/duplicate` if one of their keys was taken; then call `revert` again.
    """
    t = db.t_at(t)
    changes = _changes(db, t)
    jobs = _reversible(db, t, changes)
    if not jobs:
        return []
    forms: Forms = [[_UNTOUCHED, t, *jobs], txns.revive([job for job in jobs if _comes_to_life(db, job, changes[job])])]
    for job in jobs:
        forms += _inverse(db, job, changes[job])
    forms.append([txns.ADD, txns.THIS_TX, ":overseer/reverts", _transaction(changes[jobs[0]])])
    return forms if by is None else [*forms, txns.signed(by)]


class Reverted(NamedTuple):
    """The result of reverting."""

    reverted: set[str]  # ids of jobs
    left_alone: set[str]  # they have changed since


@of_connection
def revert_now(conn: Connection, t: int, *, by: str | None = None) -> Reverted:
    """Revert transaction t for the jobs that have not changed since; repeat if one of them changes meanwhile."""
    while True:
        db = conn.db()
        alone = moved_on(db, t)
        done = Reverted({id for job in _changes(db, db.t_at(t)) if (id := _id(db, db.t_at(t), job))} - alone, alone)
        forms = revert(db, t, by=by)
        try:
            if forms:
                conn.transact(forms)
        except TransactError as error:
            if error.code in (MOVED_ON, txns.DUPLICATE):
                continue
            raise
        return done


@of_database
def changed(db: Database, t: int) -> set[str]:
    """Return the ids of the jobs that transaction t changed."""
    t = db.t_at(t)
    return {id for job in _changes(db, t) if (id := _id(db, t, job))}


@of_database
def moved_on(db: Database, t: int) -> set[str]:
    """Return the ids of the jobs of transaction t that have changed since, so that `revert` does not change them."""
    t = db.t_at(t)
    changes = _changes(db, t)
    return {id for job in changes.keys() - set(_reversible(db, t, changes)) if (id := _id(db, t, job))}


def _reversible(db: Database, t: int, changes: dict[int, list[Datom]]) -> list[int]:
    """Return the jobs that have not changed since, and whose unique keys are free if they would be live again."""
    undone = _undone(db, t)
    alone = [job for job in changes if not _touched(db, t, job, undone)]
    living = [job for job in alone if _comes_to_life(db, job, changes[job])]
    barred = set(living) - set(lookup.revivable(db, living)) if living else ()
    return [job for job in alone if job not in barred]


def _comes_to_life(db: Database, job: int, datoms: list[Datom]) -> bool:
    """Tell whether a job that has ended is live again when these facts are reverted."""
    back = {d.v for d in datoms if not d.added and _name(db, d) == ":job/status"}
    return bool(back & LIVE) and lookup.status(db, job) not in LIVE


def _changes(db: Database, t: int) -> dict[int, list[Datom]]:
    """Return the datoms of transaction t by job, with those of its components, except attributes without history."""
    then = db.as_of(t).since(t - 1).history()
    by_entity: dict[int, list[Datom]] = {}
    for attribute in db.schema.attributes:
        for datom in () if attribute.no_history else then.datoms("aevt", attribute.ident):
            by_entity.setdefault(datom.e, []).append(datom)
    changes: dict[int, list[Datom]] = {}
    for entity, datoms in by_entity.items():
        job = _job_of(db, t, entity)
        if job is not None:
            changes.setdefault(job, []).extend(datoms)
    return changes


def _job_of(db: Database, t: int, entity: int) -> int | None:
    """Return the job that an entity is or was a component of, directly or not; the entity itself if it is a job."""
    seen: set[int] = set()
    part: int | None = entity
    while part is not None and part not in seen:
        if _id(db, t, part):
            return part
        seen.add(part)
        views = (db.as_of(t), db.as_of(t - 1))
        owners = (datom.e for view in views for datom in view.datoms("vaet", part) if _is_component(db, datom))
        part = next(owners, None)
    return None


def _is_component(db: Database, datom: Datom) -> bool:
    return db.schema.attribute(datom.a).is_component


def _id(db: Database, t: int, entity: int) -> str | None:
    """Return an entity's `:job/id` after transaction t, or before it; None for an entity that is no job."""
    id: str | None = lookup.value(db.as_of(t), entity, ":job/id") or lookup.value(db.as_of(t - 1), entity, ":job/id")
    return id


def _touched(db: Database, t: int, job: int, undone: frozenset[int]) -> bool:
    """Tell whether a job, or an entity that is or was a component of it, has changed since t.

    Args:
        undone: as returned by `_undone`.
    """
    later, ever = db.since(t).history(), db.history()
    seen, left = {job}, [job]
    while left:
        part = left.pop()
        if _differs(db, later.datoms("eavt", part), undone):
            return True
        parts = {datom.v for datom in ever.datoms("eavt", part) if _is_component(db, datom)} - seen
        seen |= parts
        left += parts
    return False


def _differs(db: Database, later: Iterable[Datom], undone: frozenset[int]) -> bool:
    """Tell whether these datoms of an entity change it, other than by changes that were reverted."""
    odd: set[tuple[int, Any]] = set()  # assertions and retractions of a fact take turns
    for datom in later:
        if not db.schema.attribute(datom.a).no_history:
            if datom.tx not in undone:
                return True
            odd ^= {(datom.a, datom.v)}
    return bool(odd)


def _undone(db: Database, t: int) -> frozenset[int]:
    """Return the transactions after t that were reverted, and those that reverted them."""
    if db.entid(":overseer/reverts") is None:
        return frozenset()
    pairs = [(datom.e, datom.v) for datom in db.datoms("aevt", ":overseer/reverts")]
    return frozenset(tx for pair in pairs if db.t_at(pair[1]) > t for tx in pair)


def _transaction(datoms: list[Datom]) -> int:
    return datoms[0].tx


def _inverse(db: Database, job: int, datoms: list[Datom]) -> Forms:
    """Return the assertions of the retracted values, and the retractions of the values that replaced none."""
    back = [datom for datom in datoms if not datom.added]
    replaced = {(datom.e, datom.a) for datom in back if not db.schema.attribute(datom.a).many}
    forms = [_restored(db, datom) for datom in back]
    return (
        forms
        + [[txns.RETRACT, d.e, _name(db, d), d.v] for d in datoms if d.added and (d.e, d.a) not in replaced]
        + _reset(db, job, datoms)
    )


def _restored(db: Database, datom: Datom) -> list[Any]:
    """Return the form that asserts a retracted value again."""
    name, v = _name(db, datom), UNSTARTED if datom.v == STARTED else datom.v
    if db.schema.attribute(datom.a).cas_only:
        return [txns.CAS, datom.e, name, lookup.value(db, datom.e, name), v]
    return [txns.ADD, datom.e, name, v]


def _reset(db: Database, job: int, datoms: list[Datom]) -> Forms:
    """Reset the crashes of a job whose attempt is reverted, unless the attempt itself ended in a crash."""
    crashes = lookup.value(db, job, CRASHES)
    ended = any(not d.added and d.v == STARTED for d in datoms)
    counted = any(_name(db, d) == CRASHES for d in datoms)
    return [[txns.RETRACT, job, CRASHES, crashes]] if ended and crashes is not None and not counted else []


def _name(db: Database, datom: Datom) -> str:
    return str(db.schema.attribute(datom.a).ident)


_UNTOUCHED: Final = "overseer/untouched"


@factstore.register(_UNTOUCHED)
def _untouched(db: Database, t: int, *jobs: int) -> list[Any]:
    """Transaction function: reject the transaction if one of these jobs has changed since t."""
    undone = _undone(db, t)
    touched = [job for job in jobs if _touched(db, t, job, undone)]
    if touched:
        why = f"{len(touched)} of the {len(jobs)} jobs to be reverted changed after t {t} was read; read again"
        raise TransactError(MOVED_ON, why, jobs=touched, t=t)
    return []
