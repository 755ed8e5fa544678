"""The page of one job: why it has its status, the graph around it, its attempts, and what can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from markupsafe import Markup

import factstore
from factstore import FactStoreError, Keyword
from factstore.console import Answer, PageRequest, Ref, Table
from overseer import questions, status
from overseer.console.asking import again, time_of
from overseer.console.pictures import graph_around
from overseer.errors import OverseerError
from overseer.jobs import lookup, waits
from overseer.jobs.states import ABORTED, FAILED, FINISHED, LIVE, STARTED, UNSTARTED, Reason, is_orphaned
from overseer.status import Attempt

if TYPE_CHECKING:
    from factstore import Database

_BECAUSE: Final[Mapping[Keyword, str]] = {
    Reason.RETRY: "failed with an error, and a retry was left",
    Reason.EXCEPTION: "failed with an error, and the job was retried by hand",
    Reason.TIMEOUT: "took longer than its time limit",
    Reason.FAULT: "requested another run",
    Reason.SNOOZE: "requested a later run",
    Reason.WAIT: "waited for a query to hold",
    Reason.LEASE_EXPIRED: "did not renew its lease",
    Reason.WORKER_DIED: "did not renew its lease, as others before it, and the job was retried by hand",
    Reason.INTERRUPTED: "was interrupted, because its worker was stopped",
    Reason.ABORT: "was aborted, and the job was retried by hand",
}


_HEADINGS: Final[Mapping[Keyword | None, str]] = {
    UNSTARTED: "Why is it not running?",
    STARTED: "Who runs it?",
    FINISHED: "How did it end?",
    FAILED: "Why did it fail?",
    ABORTED: "Why was it aborted?",
}


class Run(NamedTuple):
    """An attempt, with the parts of its failure."""

    attempt: Attempt
    failed: str  # the class of the error, if there was one
    message: str
    traceback: str


def job(request: PageRequest) -> Answer:
    """Return the page of the job with the id in the address. Raises: DatabaseError for an unknown job, "not found"."""
    db, now = request.db, time_of(request)
    eid = _named(db, request.parameters.get("id", ""))
    about = lookup.attributes(db, eid)
    attempts = status.attempts(db, eid)
    graph, is_all = graph_around(db, eid, lambda id: request.address("/job", id=id))
    state = about.get(":job/status")
    explanation = status.explain(db, eid, at=now)
    values = {
        "eid": eid,
        "id": lookup.name(db, eid),
        "about": about,
        "heading": _HEADINGS.get(state, "Why does no worker take it?"),
        "explanation": explanation,
        "answer": _sentence(explanation.why),
        "is_silent": status.is_silent(db, eid, at=now),
        "progress": status.progress(db, eid),
        "runs": [_run(attempt) for attempt in reversed(attempts)],
        "repeated": _why_repeated(attempts),
        "bars": Markup(attempts.picture(now)) if attempts else "",
        "graph": graph,
        "is_all": is_all,
        "arguments": _arguments(db, about),
        "question": _question(db, about),
        "answers": questions.answers(db, eid),
        "is_past": request.moment.t is not None,
        "can": {"abort": state in LIVE, "retry": state in (FAILED, ABORTED) or is_orphaned(about)},
    }
    steps = [tuple(step) for step in reversed(status.history(db, eid))]
    table = Table(("t", "at", "status", "attempt", "by", "reason", "failure"), steps)
    return Answer("job.html", values, {"history": table}, again=again(request) if state in LIVE else None)


def _question(db: Database, about: Mapping[str, Any]) -> questions.Question | None:
    """Return the open question of a job, if it waits for a person."""
    waiting = questions.unanswered(db) if waits.is_waiting(about) else []
    return next((each for each in waiting if each.job == about.get(":job/id")), None)


def _sentence(why: str) -> str:
    """Return an explanation as a sentence, without the earlier attempts; names keep their letters."""
    own = why.partition("; before that, ")[0]
    return f"{own[:1].upper() if own.startswith(('it ', 'its ')) else own[:1]}{own[1:]}."


def _named(db: Database, id: str) -> int:
    try:
        return lookup.named(db, id)
    except OverseerError:
        message = f"there is no job {factstore.quoted(id)} at this moment"
        raise factstore.DatabaseError(":db.error/not-an-entity", message, job=id) from None


def _run(attempt: Attempt) -> Run:
    try:
        data = factstore.edn.read(attempt.failure) if attempt.failure else {}
    except FactStoreError:
        data = {}
    if not isinstance(data, Mapping):
        data = {}
    failed, message, traceback = (
        str(data.get(Keyword(f":{name}"), "")) for name in ("exception", "message", "traceback")
    )
    return Run(attempt, failed, message or (attempt.failure or "" if not data else ""), traceback)


def _why_repeated(attempts: Sequence[Attempt]) -> list[str]:
    """Return for each attempt before the last why there was another one."""
    sentences = []
    for run in attempts[:-1]:
        because = _BECAUSE.get(run.reason, f"ended with {run.reason.name}") if run.reason else "did not end the job"
        taken = f", so {run.ended_by} took the job" if run.ended_by and run.reason == Reason.LEASE_EXPIRED else ""
        late = (
            f". {run.by} came back at {run.refused:%H:%M:%S}, too late: its outcome was rejected" if run.refused else ""
        )
        sentences.append(f"attempt {run.number} by {run.by} {because}{taken}{late}")
    return sentences


def _arguments(db: Database, about: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """Return the attributes of a job that are not of the job layer, each with its values as cells."""
    return [
        (name, [_cell(db, name, value) for value in (values if isinstance(values, list) else [values])])
        for name, values in sorted(about.items())
        if not name.startswith((":job/", ":db/"))
    ]


def _cell(db: Database, name: str, value: Any) -> Any:
    if not db.attribute(name).is_ref:
        return value
    ident = db.ident(value)
    return Ref(value, str(ident) if ident is not None else lookup.name(db, value))
