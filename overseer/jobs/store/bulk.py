"""Moves of an operator for many jobs: each function returns one transaction, and the jobs that stay as they are.

`revert` takes such a transaction back. Law: each job changes as if it was moved alone, in any order; a job whose move
would be rejected is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from overseer.errors import OverseerError
from overseer.jobs import lookup, txns
from overseer.jobs.dependency_rules import DOOMED
from overseer.jobs.graph import new_id
from overseer.jobs.states import ABORTED, FAILED, LIVE, STATUSES, UNSTARTED, Forms, as_keyword, is_orphaned
from overseer.jobs.store.by_hand import abort_failure, aborted_by, forgotten

if TYPE_CHECKING:
    from factstore import Connection, Database, TxReport


class Move(NamedTuple):
    """One transaction about many jobs."""

    forms: Forms
    moved: tuple[str, ...]  # ids of the given jobs that it changes
    others: tuple[str, ...] = ()  # ids of jobs that it changes because of them
    left: tuple[str, ...] = ()  # ids of the given jobs that stay as they are


def _move(
    db: Database, forms: Forms, by: str, moved: Iterable[int], given: Iterable[int], others: Iterable[int] = ()
) -> Move:
    done = list(moved)
    kept = [job for job in given if job not in set(done)]
    names = ([lookup.name(db, job) for job in jobs] for jobs in (done, others, kept))
    return Move([*forms, txns.signed(by)] if done else [], *map(tuple, names))


def abort(db: Database, jobs: Iterable[int | str], message: str, *, by: str) -> Move:
    """Abort the jobs that have not ended, and the jobs that can no longer run because of them.

    Args:
        jobs: entity ids, or values of `:job/id`.
        message: stored with each job.
        by: the name of the operator.
    Raises: OverseerError(:job.error/no-such-job).
    """
    given = _entities(db, jobs)
    statuses = {job: lookup.status(db, job) for job in given}
    live = [job for job, status in statuses.items() if status in LIVE or status not in STATUSES]
    ended = dict.fromkeys(live, ABORTED)
    forms: Forms = []
    doomed: list[int] = []
    for job in live:
        down = lookup.doomed_dependents(db, {job: ABORTED}, ended)
        ended.update(dict.fromkeys(down, ABORTED))
        doomed += down
        forms += txns.abort_by_hand(job, statuses[job], by=by, failure=abort_failure(message), dependents=down)
    return _move(db, forms, by, live, given, doomed)


def retry(db: Database, jobs: Iterable[int | str], *, by: str) -> Move:
    """Let the jobs run again that failed or were aborted, and those that were aborted because of them.

    A job that would be aborted again at once, or whose unique key another live job has, is left as it is.
    Raises: OverseerError(:job.error/no-such-job).
    """
    given = _entities(db, jobs)
    abouts = {job: lookup.attributes(db, job) for job in given}
    chosen = {
        job: about
        for job, about in abouts.items()
        if about.get(":job/status") in (FAILED, ABORTED) or is_orphaned(about)
    }
    children = {job: [child for child in aborted_by(db, job) if child not in chosen] for job in chosen}
    able = _able_to_run(db, chosen, [child for each in children.values() for child in each])
    forms: Forms = [txns.revive(sorted(able))]
    revived: list[int] = []
    for job in (job for job in chosen if job in able):
        also = [child for child in children[job] if child in able]
        revived += also
        forms += txns.unstart(job, chosen[job].get(":job/status"), forget=forgotten(chosen[job]), revived=also)
    return _move(db, forms, by, [job for job in chosen if job in able], given, revived)


def _able_to_run(db: Database, chosen: Mapping[int, Any], others: Iterable[int]) -> set[int]:
    """Return the jobs that can be live together.

    A job that was aborted because of another one runs again with it. Any other chosen job is left out if it would be
    aborted at once because of a parent.
    """
    able = set(lookup.revivable(db, [*chosen, *others]))
    causes = {job: lookup.value(db, job, ":job/cause") for job in able}
    while True:
        assumed = dict.fromkeys(able, UNSTARTED)
        alone = [job for job in able if not (causes[job] in able and causes[job] in chosen)]
        lost = [job for job in alone if job not in chosen or lookup.readiness(db, job, assumed) == DOOMED]
        if not lost:
            return able
        able.difference_update(lost)


KEPT: Final = object()  # a value of `change` that stays as it is


def change(db: Database, jobs: Iterable[int | str], *, queue: Any = KEPT, priority: Any = KEPT, by: str) -> Move:
    """Give the jobs that have not started another queue or priority; None removes it.

    Raises: OverseerError(:job.error/bad-argument) for a priority that is no whole number, or a name that is no queue.
    """
    if priority is not KEPT and priority is not None and type(priority) is not int:
        raise OverseerError(
            ":job.error/bad-argument", f"a priority is a whole number, got {priority!r}", priority=priority
        )
    wanted = {":job/queue": as_keyword(queue) if isinstance(queue, str) else queue, ":job/priority": priority}
    given = _entities(db, jobs)
    forms: Forms = []
    changed = []
    for job in given:
        about = lookup.attributes(db, job)
        new = [
            form
            for name, value in wanted.items()
            if value is not KEPT
            for form in _replaced(job, name, about.get(name), value)
        ]
        if about.get(":job/status") == UNSTARTED and new:
            forms += [[txns.CAS, job, ":job/status", UNSTARTED, UNSTARTED], *new]
            changed.append(job)
    return _move(db, forms, by, changed, given)


def _replaced(job: int, name: str, before: Any, after: Any) -> Forms:
    if before == after:
        return []
    return [[txns.RETRACT, job, name, before]] if after is None else [[txns.ADD, job, name, after]]


# What a copy of a job takes over of the attributes of the job layer; it has all of the others.
_COPIED: Final = (":job/type", ":job/queue", ":job/priority", ":job/partition", ":job/timeout")


def repeat(db: Database, jobs: Iterable[int | str], *, by: str, ids: Callable[[str], str] | None = None) -> Move:
    """Insert a new job for each of these, with the same type, settings and arguments, and without dependencies.

    Args:
        ids: the id of the new job by that of the old one: an id that exists inserts nothing. None: new ids.
    """
    given = _entities(db, jobs)
    named = (lambda old: new_id()) if ids is None else ids
    copied = [job for job in given if lookup.value(db, job, ":job/type") is not None]
    forms = [txns.once(_copy(db, job, named(lookup.name(db, job)))) for job in copied]
    return _move(db, forms, by, copied, given)


def _copy(db: Database, job: int, id: str) -> dict[str, Any]:
    about = {name: value for name, value in lookup.attributes(db, job).items() if _is_copied(db, name)}
    return txns.job_txn(about.pop(":job/type"), about, id=id)


def _is_copied(db: Database, name: str) -> bool:
    if name.startswith(":job/"):
        return name in _COPIED
    attribute = db.attribute(name)
    return not (attribute.is_component or attribute.unique)


def committed(conn: Connection, build: Callable[[Database], Move]) -> tuple[Move, TxReport | None]:
    """Commit a move of the newest database; return it with the report, which is None if there is nothing to change.

    The writer lock is held from the read to the commit: on a busy store, one of a thousand jobs always changes between.
    """
    with conn.transaction() as tx:
        move = build(tx.db)
        if move.forms:
            tx.transact(move.forms)
    return move, tx.report if move.forms else None


def _entities(db: Database, jobs: Iterable[int | str]) -> list[int]:
    return list(dict.fromkeys(lookup.named(db, job) for job in jobs))
