"""The job tools of `factstore mcp`, found by the entry point of the group `factstore.mcp`.

Each is a plain function of a session and of its arguments; its docstring is its description for the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import factstore
from factstore import quoted
from overseer import status as ask
from overseer.errors import OverseerError
from overseer.jobs import txns
from overseer.jobs.store import install

if TYPE_CHECKING:
    from factstore import Connection, Database

Answer = Mapping[str, Any]


class Limits(Protocol):
    """The limits of an answer."""

    @property
    def rows(self) -> int:
        """The maximum number of rows."""


class Session(Protocol):
    """What a tool may use; `factstore.mcp` has the session."""

    @property
    def conn(self) -> Connection:
        """The connection of the server."""

    @property
    def who(self) -> str:
        """The name of the client."""

    @property
    def limits(self) -> Limits:
        """The limits of the answer."""

    def db(self, at: str | int | None = None) -> Database:
        """Return the database at a time."""


def jobs(
    session: Session,
    status: str | None = None,
    type: str | None = None,
    queue: str | None = None,
    text: str | None = None,
    limit: int | None = None,
    at: str | int | None = None,
) -> Answer:
    """Return the jobs for which all filters hold, last changed first, and the number of all jobs of each status.

    Args:
        status: unstarted, started, finished, failed or aborted.
        type: a job type, such as mail/send.
        queue: a queue.
        text: occurs in the id or in the failure of the job.
        limit: maximum number of jobs.
        at: the time: a t, an instant such as 2026-01-31T12:00Z, or a duration ago such as -5m; the default is now.
    """
    db, most = session.db(at), session.limits.rows + 1  # one more, so that the answer states that it is cut
    most = most if limit is None else min(limit, most)
    listed = ask.jobs(db, status=status, type=type, queue=queue, text=text, limit=most)
    counts = {status.name: count for status, count in ask.counts(db).items()} if listed else {}
    return {"t": db.basis_t, "counts": counts, "jobs": (job._asdict() for job in listed)}


def explain_job(session: Session, job: str, at: str | int | None = None) -> Answer:
    """Return why a job is not running, since when it runs, how it ended, or why it ran more than once.

    Args:
        job: the id of the job.
        at: the time: a t, an instant such as 2026-01-31T12:00Z, or a duration ago such as -5m; the default is now.
    """
    db = session.db(at)
    explanation = ask.explain(db, job)
    return {
        "status": explanation.status.name,
        "why": explanation.why,
        "jobs": list(explanation.jobs),
        "roots": list(explanation.roots),
        "attempts": (attempt._asdict() for attempt in ask.attempts(db, job)),
    }


def enqueue(
    session: Session,
    type: str,
    id: str,
    arguments: str | None = None,
    queue: str | None = None,
    priority: int | None = None,
    run_at: str | None = None,
) -> Answer:
    """Insert a job, signed with the name of this client. A call with the id of an existing job inserts nothing.

    Args:
        type: the job type, such as mail/send; workers choose the handler by it.
        id: the id of the job, such as welcome-ann.
        arguments: the arguments as a map in EDN, such as {:mail/to "ann@x"}; the store must have the attributes.
        queue: the queue whose limits apply.
        priority: jobs with a higher priority start first; the default is 0.
        run_at: the earliest start, an instant such as 2026-01-31T12:00Z.
    """
    attributes = {} if arguments is None else factstore.edn.read(arguments)
    if not isinstance(attributes, Mapping):
        why = f'the arguments of a job are a map in EDN, such as {{:mail/to "ann@x"}}, got {quoted(arguments)}'
        raise OverseerError(":job.error/bad-argument", why, arguments=arguments)
    due = None if run_at is None else factstore.moment(run_at)
    job = txns.job_txn(type, attributes, id=id, queue=queue, priority=priority, run_at=due)
    install(session.conn)
    with session.conn.annotate({":overseer/by": session.who}):
        report = session.conn.transact([txns.once(job)])
    return {"t": report.t, "id": id, **ask.explain(report.db_after, id)._asdict()}


READS: Final = (jobs, explain_job)
WRITES: Final = (enqueue,)
