"""Lists of jobs by any filter: one query chooses them, and only the listed ones are read.

Law: for a database `as_of` a time, the list is the one that was returned then.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from heapq import nlargest
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import FactStoreError, Keyword, quoted
from overseer.errors import OverseerError
from overseer.jobs import lookup
from overseer.jobs.states import LOST, STATUSES, UNSTARTED, Status, as_keyword
from overseer.sources import of_database
from overseer.times import aware

if TYPE_CHECKING:
    from factstore import Database


@factstore.rendering.shown_as_record
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
    since: datetime | None = None,
    limit: int | None = 100,
) -> list[Listed]:
    """Return the jobs for which all given filters hold; the job whose status changed last is the first.

    Args:
        status: such as "failed" or ":job.status/failed".
        type, queue, worker: a job type; a queue; the last worker that claimed the job.
        text: occurs in the id or in the failure of the job, in upper or lower case.
        where: values of attributes of the job, such as its arguments.
        since: the status of the job changed at this moment or later.
        limit: maximum number of jobs; None is all.
    Raises: OverseerError(:job.error/bad-argument) for a status, an attribute or a limit that does not exist.
    """
    _check_limit(limit)
    found = matching(db, status=status, type=type, queue=queue, worker=worker, text=text, where=where, since=since)
    newest = sorted(found, reverse=True) if limit is None else nlargest(limit, found)
    abouts = lookup.attributes_of(db, [job for _, job in newest])
    return factstore.rendering.Records(_listed(db, tx, about) for (tx, _), about in zip(newest, abouts, strict=True))


def matching(
    db: Database,
    *,
    status: str | None = None,
    type: str | None = None,
    queue: str | None = None,
    worker: str | None = None,
    text: str | None = None,
    where: Mapping[str, Any] | None = None,
    since: datetime | None = None,
) -> list[tuple[int, int]]:
    """Return the jobs for which the filters of `jobs` hold: for each, the transaction of its status, and its entity."""
    if db.entid(":job/status") is None:
        return []
    named = {
        ":job/status": None if status is None else _status(status),
        ":job/type": None if type is None else as_keyword(type),
        ":job/queue": None if queue is None else as_keyword(queue),
        ":job/worker": worker,
    }
    found = _matching(db, {**(where or {}), **{name: value for name, value in named.items() if value is not None}})
    if since is not None:
        aware(since, "since")
        found = [(tx, job) for tx, job in found if _instant(db, tx) >= since]
    if text is None:
        return found
    return [(tx, job) for tx, job in found if _contains(db, job, text.casefold())]


@of_database
def id_of(db: Database, text: str) -> str:
    """Return the id of the job whose id is a text, or is the only one that begins with it.

    Raises: OverseerError(:job.error/no-such-job), also for a text with which several ids begin; it names some of them.
    """
    if not text or db.entid(":job/id") is None or db.entid([":job/id", text]) is not None:
        return text
    later = (datom.v for datom in db.index_range(":job/id", text))
    ids = list(islice(takewhile(lambda id: id.startswith(text), later), _SHOWN))
    if len(ids) > 1:
        why = f"several jobs have an id that begins with {quoted(text)}: {', '.join(ids)}, …"
        raise OverseerError(":job.error/no-such-job", why, job=text, ids=ids)
    return ids[0] if ids else text


_SHOWN: Final = 5


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


def _check_limit(limit: Any) -> None:
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise _bad(f"limit is a number of jobs, at least 0, or None, got {quoted(limit)}", limit=limit)


def _instant(db: Database, tx: int) -> datetime:
    return db.instant_of(db.t_at(tx)) or datetime.min.replace(tzinfo=UTC)


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
    """Return the message of a failure; the whole text if it has none, or is not EDN.

    The exception is named if its message says too little: it is empty, or the key that a KeyError repeats.
    """
    try:
        data = factstore.edn.read(failure)
    except FactStoreError:
        return failure
    if not isinstance(data, Mapping):
        return failure
    exception, text = data.get(Keyword(":exception")), data.get(Keyword(":message"), failure)
    if exception and not text:
        return exception
    return f"{exception}: {text}" if exception == KeyError.__name__ else text
