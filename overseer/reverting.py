"""Taking back what a transaction did to jobs: the inverse of its facts about them, for those that nothing has touched since.

Other facts of that transaction stay. Law: reverting a transaction right away leaves the jobs' facts as they were before it, but for
jobs that it found started: their attempts are lost, so they are unstarted again.
"""

from __future__ import annotations

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
    """Return the transaction that takes back what transaction t did to jobs that nothing has touched since; empty when there are none.

    Args:
        t: the transaction, as t or as its entity id.
        by: who takes it back; kept on the new transaction.

    A job that would be live again while another live job has its unique key counts as touched.
    It is rejected with `:job.error/moved-on` when one of the jobs moved on before it committed, and with `:job.error/duplicate`
    when one of their keys was taken: then ask again.
    """
    t = db.t_at(t)
    changes = _changes(db, t)
    jobs = _reversible(db, t, changes)
    if not jobs:
        return []
    forms: Forms = [[_UNTOUCHED, t, *jobs], txns.revive([job for job in jobs if _comes_to_life(db, changes[job])])]
    for job in jobs:
        forms += _inverse(db, changes[job])
    forms.append([txns.ADD, txns.THIS_TX, ":overseer/reverts", _transaction(changes[jobs[0]])])
    return forms if by is None else [*forms, txns.signed(by)]


class Reverted(NamedTuple):
    """What taking back came to."""

    reverted: set[str]  # ids of jobs
    left_alone: set[str]  # for they had moved on


@of_connection
def revert_now(conn: Connection, t: int, *, by: str | None = None) -> Reverted:
    """Take back what transaction t did to jobs that nothing has touched since, however busy they are meanwhile."""
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
def moved_on(db: Database, t: int) -> set[str]:
    """Return the ids of the jobs of transaction t that something has touched since, so that `revert` leaves them alone."""
    t = db.t_at(t)
    changes = _changes(db, t)
    return {id for job in changes.keys() - set(_reversible(db, t, changes)) if (id := _id(db, t, job))}


def _reversible(db: Database, t: int, changes: dict[int, list[Datom]]) -> list[int]:
    """Return the jobs that nothing has touched since, and that may be live again, if they would be: their unique keys are free."""
    alone = [job for job in changes if not _touched(db, t, job)]
    living = [job for job in alone if _comes_to_life(db, changes[job])]
    barred = set(living) - set(lookup.revivable(db, living)) if living else ()
    return [job for job in alone if job not in barred]


def _comes_to_life(db: Database, datoms: list[Datom]) -> bool:
    """Tell whether a job that is not live is live again when these are taken back."""
    back = {d.v for d in datoms if not d.added and _name(db, d) == ":job/status"}
    return bool(back & LIVE) and lookup.status(db, datoms[0].e) not in LIVE


def _changes(db: Database, t: int) -> dict[int, list[Datom]]:
    """Return what transaction t said of each job, but for facts that keep no history."""
    then = db.as_of(t).since(t - 1).history()
    found: dict[int, list[Datom]] = {}
    for attribute in db.schema.attributes:
        for datom in () if attribute.no_history else then.datoms("aevt", attribute.ident):
            found.setdefault(datom.e, []).append(datom)
    return {entity: datoms for entity, datoms in found.items() if _id(db, t, entity)}


def _id(db: Database, t: int, entity: int) -> str | None:
    """Return an entity's `:job/id` after transaction t, or before it; None for what is no job."""
    found: str | None = lookup.value(db.as_of(t), entity, ":job/id") or lookup.value(db.as_of(t - 1), entity, ":job/id")
    return found


def _touched(db: Database, t: int, job: int) -> bool:
    return any(not db.schema.attribute(datom.a).no_history for datom in db.since(t).history().datoms("eavt", job))


def _transaction(datoms: list[Datom]) -> int:
    return datoms[0].tx


def _inverse(db: Database, datoms: list[Datom]) -> Forms:
    """Return the assertion of what was retracted, and the retraction of what took no other value's place."""
    back = [datom for datom in datoms if not datom.added]
    replaced = {datom.a for datom in back if not db.schema.attribute(datom.a).many}
    forms = [_restored(db, datom) for datom in back]
    return (
        forms
        + [[txns.RETRACT, d.e, _name(db, d), d.v] for d in datoms if d.added and d.a not in replaced]
        + _reset(db, datoms)
    )


def _restored(db: Database, datom: Datom) -> list[Any]:
    """Return the form that asserts again what was retracted."""
    name, v = _name(db, datom), UNSTARTED if datom.v == STARTED else datom.v
    if db.schema.attribute(datom.a).cas_only:
        return [txns.CAS, datom.e, name, lookup.value(db, datom.e, name), v]
    return [txns.ADD, datom.e, name, v]


def _reset(db: Database, datoms: list[Datom]) -> Forms:
    """Forget the crashes before an attempt whose end is taken back, unless it ended in a crash itself, which is taken back with it."""
    job = datoms[0].e
    crashes = lookup.value(db, job, CRASHES)
    ended = any(not d.added and d.v == STARTED for d in datoms)
    counted = any(_name(db, d) == CRASHES for d in datoms)
    return [[txns.RETRACT, job, CRASHES, crashes]] if ended and crashes is not None and not counted else []


def _name(db: Database, datom: Datom) -> str:
    return str(db.schema.attribute(datom.a).ident)


_UNTOUCHED: Final = "overseer/untouched"


@factstore.register(_UNTOUCHED)  # type: ignore[untyped-decorator]
def _untouched(db: Database, t: int, *jobs: int) -> list[Any]:
    """Transaction function: reject the transaction when something has touched one of these jobs since t."""
    touched = [job for job in jobs if _touched(db, t, job)]
    if touched:
        why = f"{len(touched)} of the {len(jobs)} jobs to be reverted moved on after t {t} was looked at; look again"
        raise TransactError(MOVED_ON, why, jobs=touched, t=t)
    return []
