"""Lists of jobs by any filter: one query chooses them, and only the listed ones are read.

Law: for a database `as_of` a time, the list is the one that was returned then.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from heapq import nlargest
from typing import TYPE_CHECKING, Any, NamedTuple

import factstore
from factstore import FactStoreError, Keyword, quoted
from overseer.errors import OverseerError
from overseer.jobs import lookup
from overseer.jobs.states import LOST, STATUSES, UNSTARTED, Status, as_keyword
from overseer.sources import of_database

if TYPE_CHECKING:
    from factstore import Database


class Listed(NamedTuple):
    """One job of a list."""

    id: str
    type: Keyword | None
    status: Status
    queue: Keyword | None
    attempt: int  # number of claims
    since: datetime | None  # when it got its status
    by: str | None  # the last worker that claimed it
    why: str | None  # the message of its failure, if it failed, was aborted, or will run again


@of_database
def jobs(
    db: Database,
    *,
    status: str | None = None,
    type: str | None = None,
    queue: str | None = None,
    worker: str | None = None,
    text: str | None = None,
    where: Mapping[str, Any] | None = None,
    limit: int | None = 100,
) -> list[Listed]:
    """Return the jobs for which all given filters hold; the job whose status changed last is the first.

    Args:
        status: such as "failed" or ":job.status/failed".
        type: a job type.
        queue: a queue.
        worker: the last worker that claimed the job.
        text: occurs in the id or in the failure of the job, in upper or lower case.
        where: values of attributes of the job, such as its arguments.
        limit: maximum number of jobs; None is all.
    Raises: OverseerError(:job.error/bad-argument) for a status, an attribute or a limit that does not exist.
    """
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise _bad(f"limit is a number of jobs, at least 0, or None, got {quoted(limit)}", limit=limit)
    if db.entid(":job/status") is None:
        return []
    named = {
        ":job/status": None if status is None else _status(status),
        ":job/type": None if type is None else as_keyword(type),
        ":job/queue": None if queue is None else as_keyword(queue),
        ":job/worker": worker,
    }
    found = _matching(db, {**(where or {}), **{name: value for name, value in named.items() if value is not None}})
    if text is not None:
        found = [(tx, job) for tx, job in found if _contains(db, job, text.casefold())]
    newest = sorted(found, reverse=True) if limit is None else nlargest(limit, found)
    abouts = lookup.attributes_of(db, [job for _, job in newest])
    return [_listed(db, tx, about) for (tx, _), about in zip(newest, abouts, strict=True)]


def _status(name: str) -> Status:
    status = as_keyword(name, "job.status")
    if status not in STATUSES:
        names = ", ".join(one.name for one in STATUSES)
        raise _bad(f"the status of a job is one of {names}; got {quoted(name)}", status=name)
    return status


def _bad(why: str, **data: Any) -> OverseerError:
    return OverseerError(":job.error/bad-argument", why, **data)


def _matching(db: Database, wanted: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the jobs with these values, each with the transaction that set its status."""
    clauses, names = ["[?j :job/status ?s ?tx]"], []
    for n, attribute in enumerate(wanted):
        if not isinstance(attribute, str) or db.entid(attribute) is None:
            raise _bad(f"a filter names an attribute of the store, got {quoted(attribute)}", attribute=attribute)
        clauses.append(f"[?j {attribute} ?v{n}]")
        names.append(f"?v{n}")
    query = f"[:find ?tx ?j :in $ {' '.join(names)} :where {' '.join(reversed(clauses))}]"
    try:
        return list(factstore.q(query, db, *wanted.values()))
    except FactStoreError as error:
        raise _bad(f"the filters {quoted(dict(wanted))} cannot be used: {error.message}", where=wanted) from error


def _contains(db: Database, job: int, text: str) -> bool:
    return any(text in str(lookup.value(db, job, name, "")).casefold() for name in (":job/id", ":job/failure"))


def _listed(db: Database, tx: int, about: Mapping[str, Any]) -> Listed:
    status, failure = about[":job/status"], about.get(":job/failure")
    return Listed(
        id=about.get(":job/id", f"entity {about[':db/id']}"),
        type=about.get(":job/type"),
        status=status,
        queue=about.get(":job/queue"),
        attempt=about.get(":job/attempt", 0),
        since=db.instant_of(db.t_at(tx)),
        by=about.get(":job/worker"),
        why=str(message(failure)) if failure is not None and status in (*LOST, UNSTARTED) else None,
    )


def message(failure: str) -> Any:
    """Return the message of a failure; the whole text if it has no message, or is not EDN."""
    try:
        data = factstore.edn.read(failure)
    except FactStoreError:
        return failure
    return data.get(Keyword(":message"), failure) if isinstance(data, Mapping) else failure
