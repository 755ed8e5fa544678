"""Queries about the jobs of any database: the current one, an older one, or a hypothetical one.

Each function is one Datalog query and a line of Python. Combine `RULES` with your own clauses to query jobs and other
facts together. Rules: `(live ?status)`, `(ended ?job)`, `(blocked ?job)`, `(depends ?job ?ancestor)`, which is
transitive.

    jobs       lists jobs by any filter          history, attempts   what happened to one job
    counts     number of jobs                    explain, blockers   why a job has its status
    backlog    live jobs of each queue           jobs_ready, …       ids of jobs
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import Keyword
from overseer.jobs import dependency_rules, lookup, waits
from overseer.jobs.dependency_rules import DOOMED, WAITING, DependencyRule
from overseer.jobs.queues import allowance, queues
from overseer.jobs.states import (
    ABORTED,
    ENDED,
    FAILED,
    FINISHED,
    STARTED,
    STATUSES,
    UNSTARTED,
    Reason,
    Status,
    as_keyword,
)
from overseer.planning.backlog import Backlog, Backlogs
from overseer.planning.obstacles import obstacle
from overseer.sources import of_database
from overseer.status.listing import Listed, id_of, jobs, matching, message
from overseer.status.silence import is_silent, jobs_dead, time_of
from overseer.status.workers import WorkerInfo, progress, workers

if TYPE_CHECKING:
    from factstore import Database

__all__ = [
    "RULES",
    "Attempt",
    "Attempts",
    "Backlog",
    "Backlogs",
    "Explanation",
    "Listed",
    "Transition",
    "WorkerInfo",
    "attempts",
    "backlog",
    "blockers",
    "counts",
    "counts_by_type",
    "dependents",
    "explain",
    "history",
    "id_of",
    "is_silent",
    "jobs",
    "jobs_dead",
    "jobs_ready",
    "jobs_unstarted",
    "jobs_with_status",
    "matching",
    "progress",
    "workers",
]


def _has_status(statuses: frozenset[Status]) -> str:
    """Return the clause that the parent ?p has one of these statuses."""
    clauses = [f"[?p :job/status {status}]" for status in sorted(statuses)]
    return "(ended ?p)" if statuses == ENDED else clauses[0] if len(clauses) == 1 else f"(or {' '.join(clauses)})"


def _blocked(which: str, rule: DependencyRule) -> str:
    """Return a Datalog rule: a job for which the clause `which` holds is not ready by a dependency rule."""
    accepted = _has_status(rule.accepts)
    if rule.one_suffices:
        return f"[(blocked ?job) {which} [?job :job/dep _] (not-join [?job] [?job :job/dep ?p] {accepted})]"
    return f"[(blocked ?job) {which} [?job :job/dep ?p] (not {accepted})]"


_WITH_RULE: Final = "[?job :job/rule {}]"
_WITHOUT_RULE: Final = "(not [?job :job/rule _])"
_UNKNOWN_RULE: Final = " ".join(
    ["[?job :job/rule ?rule]", *(f"[(!= ?rule {name})]" for name in dependency_rules.RULES)]
)
RULES: Final = "\n".join(
    [
        "[[(live ?status) [(ground :job.status/unstarted) ?status]]",
        "[(live ?status) [(ground :job.status/started) ?status]]",
        "[(depends ?job ?ancestor) [?job :job/dep ?ancestor]]",
        "[(depends ?job ?ancestor) [?job :job/dep ?parent] (depends ?parent ?ancestor)]",
        *(f"[(ended ?job) [?job :job/status {status}]]" for status in sorted(ENDED)),
        _blocked(_WITHOUT_RULE, dependency_rules.RULES[dependency_rules.ALL_SUCCESS]),
        *(_blocked(_WITH_RULE.format(name), rule) for name, rule in dependency_rules.RULES.items()),
        f"[(blocked ?job) {_UNKNOWN_RULE}]]",
    ]
)

_WITH_STATUS: Final = "[:find [?id ...] :in $ ?status :where [?j :job/status ?status] [?j :job/id ?id]]"
_READY: Final = """[:find [?id ...] :in $ % ?now
  :where [?j :job/status :job.status/unstarted] (not (blocked ?j))
         (not-join [?j ?now] [?j :job/run-at ?at] [(> ?at ?now)])
         [?j :job/id ?id]]"""
_DEPENDENTS: Final = "[:find [?id ...] :in $ % ?ancestor :where (depends ?j ?ancestor) [?j :job/id ?id]]"
_BLOCKERS: Final = """[:find [?id ...] :in $ % ?j
  :where (depends ?j ?a) [?a :job/status ?s] (live ?s) (not (blocked ?a)) [?a :job/id ?id]]"""
_COUNTS: Final = "[:find ?status (count ?j) :where [?j :job/status ?status]]"
_COUNTS_BY_TYPE: Final = "[:find ?type ?status (count ?j) :where [?j :job/status ?status] [?j :job/type ?type]]"
_LIFE: Final = """[:find ?tx ?at ?attribute ?v ?added :in $ ?j [?attribute ...]
  :where [?a :db/ident ?attribute] [?j ?a ?v ?tx ?added] [?tx :db/txInstant ?at]]"""
_SIGNED: Final = "[:find ?tx ?by :in $ [?tx ...] :where [?tx :overseer/by ?by]]"


@of_database
def jobs_with_status(db: Database, status: str) -> set[str]:
    """Return the ids of the jobs with a status, given as ":job.status/failed" or "failed"."""
    return set(factstore.q(_WITH_STATUS, db, as_keyword(status, "job.status")))


@of_database
def jobs_unstarted(db: Database) -> set[str]:
    """Return the ids of the jobs that have not started."""
    return jobs_with_status(db, UNSTARTED)


@of_database
def jobs_ready(db: Database, *, at: datetime | None = None) -> set[str]:
    """Return the ids of the jobs that could start: unstarted, due, and ready by their rule.

    Args:
        at: the time; None is the time that the database is as of, or now.
    """
    return set(factstore.q(_READY, db, RULES, time_of(db, at)))


@of_database
def dependents(db: Database, job: int | str) -> set[str]:
    """Return the ids of all jobs that depend on a job, directly or through others."""
    return set(factstore.q(_DEPENDENTS, db, RULES, lookup.named(db, job)))


@of_database
def counts(db: Database, **filters: Any) -> dict[Status, int]:
    """Return the number of jobs of each status, also if it is 0.

    Args:
        filters: those of `jobs`, except status and limit.
    """
    if filters:
        return {status: len(matching(db, status=status, **filters)) for status in STATUSES}
    numbers = dict(factstore.q(_COUNTS, db))
    return {status: numbers.get(status, 0) for status in STATUSES}


@of_database
def counts_by_type(db: Database) -> dict[Keyword, dict[Status, int]]:
    """Return the number of jobs of each type and status; types in order of name."""
    table: dict[Keyword, dict[Status, int]] = {}
    for type, status, count in sorted(factstore.q(_COUNTS_BY_TYPE, db)):
        table.setdefault(type, dict.fromkeys(STATUSES, 0))[status] = count
    return table


@factstore.rendering.shown_as_record
class Transition(NamedTuple):
    """One change of a job's status."""

    t: int
    at: datetime
    status: Status
    attempt: int  # number of claims until then
    by: str | None  # the worker that held the job, or the name on the transaction
    reason: Keyword | None
    failure: str | None  # EDN


_SHOWN: Final = (":job/status", ":job/attempt", ":job/worker", ":job/reason", ":job/failure")


@of_database
def history(db: Database, job: int | str) -> list[Transition]:
    """Return every status that a job had, oldest first; one query of the history."""
    eid = lookup.named(db, job)
    asserted: dict[int, dict[str, Any]] = {}
    when: dict[int, datetime] = {}
    for tx, at, attribute, value, added in factstore.q(_LIFE, db.history(), eid, list(map(Keyword, _SHOWN))):
        when[tx] = at
        if added:
            asserted.setdefault(tx, {})[attribute] = value
    signed = dict(factstore.q(_SIGNED, db, list(when)))
    about: dict[str, Any] = {}
    transitions: list[Transition] = factstore.rendering.Records()
    for tx in sorted(asserted):
        about |= asserted[tx]
        if ":job/status" in asserted[tx]:
            transitions.append(_transition(db, tx, when[tx], about, asserted[tx], signed.get(tx)))
    return transitions


def _transition(
    db: Database, tx: int, at: datetime, about: Mapping[str, Any], new: Mapping[str, Any], signed: str | None
) -> Transition:
    # The reason of an earlier attempt is still a fact, but does not belong to a claim or a success.
    explains = about[":job/status"] not in (STARTED, FINISHED)
    return Transition(
        t=db.t_at(tx),
        at=at,
        status=about[":job/status"],
        attempt=about.get(":job/attempt", 0),
        by=signed or about.get(":job/worker"),
        reason=about.get(":job/reason") if explains else None,
        failure=about.get(":job/failure") if explains and ":job/reason" in about else None,
    )


@factstore.rendering.shown_as_record
class Attempt(NamedTuple):
    """One run of a job, by one worker."""

    number: int
    by: str | None
    began: datetime
    ended: datetime | None = None  # None while it runs
    status: Status | None = None  # the status that it gave its job
    reason: Keyword | None = None
    ended_by: str | None = None  # the process that ended it, if that was not its own worker
    failure: str | None = None  # EDN: its class, message, position, data and traceback
    refused: datetime | None = None  # when its worker came back after it had lost the job, and its outcome was rejected
    logs: str | None = None  # the last lines that its handler logged, if they are kept
    unstarted: datetime | None = None  # when its job became unstarted before it

    def __str__(self) -> str:
        """Describe the attempt in one phrase."""
        if self.status is None:
            return f"attempt {self.number} by {self.by} is running"
        end = self.reason.name if self.reason else self.status.name
        by = f", by {self.ended_by}" if self.ended_by else ""
        back = f", and came back at {self.refused:%Y-%m-%d %H:%M:%S}, too late" if self.refused else ""
        return f"attempt {self.number} by {self.by} ended with {end}{by}{back}"


class Attempts(list[Attempt]):
    """The attempts at a job, oldest first; a notebook shows them as bars."""

    def _repr_svg_(self) -> str:
        """Return the picture for notebooks."""
        from overseer.drawing.attempts import drawing

        return self.picture(datetime.now(UTC), style=drawing.CSS)

    def picture(self, now: datetime, *, style: str = "") -> str:
        """Return each attempt as a bar, with the time before it in grey.

        Args:
            now: the end of an attempt that still runs.
            style: rules of CSS inside the picture; "" for pages that have them.
        """
        from overseer.drawing.attempts import Bar, bars_picture

        bars = [
            Bar(f"attempt {run.number}", run.began, run.ended, _color_of(run), str(run), run.unstarted) for run in self
        ]
        return bars_picture(bars, now=now, style=style)


def _color_of(run: Attempt) -> str:
    """Return the class of an attempt's color: an attempt that will be repeated failed, unless it was released."""
    if run.status is None:
        return "started"
    released = run.reason in (Reason.INTERRUPTED, Reason.SNOOZE, Reason.FAULT)
    return run.status.name if run.status in ENDED else "unstarted" if released else "failed"


@of_database
def attempts(db: Database, job: int | str) -> Attempts:
    """Return all attempts at a job, oldest first."""
    runs: list[Attempt] = []
    eid = lookup.named(db, job)
    unstarted: datetime | None = None
    for step in history(db, eid):
        if step.status == UNSTARTED:
            unstarted = step.at
        if step.status == STARTED:
            runs.append(Attempt(step.attempt, step.by, step.at, unstarted=unstarted))
        elif runs and runs[-1].ended is None:
            last, by = runs[-1], step.by if step.by != runs[-1].by else None
            runs[-1] = last._replace(
                ended=step.at, status=step.status, reason=step.reason, ended_by=by, failure=step.failure
            )
    refused, logs = _asserted(db, eid, ":job/refused"), _asserted(db, eid, ":job/logs")
    came_back = {number: at for at, number in refused}
    logged = dict(logs)
    return Attempts(
        run._replace(refused=came_back.get(run.number), logs=logged.get(run.ended) if run.ended else None)
        for run in runs
    )


def _asserted(db: Database, job: int, attribute: str) -> list[tuple[datetime | None, Any]]:
    """Return each value that an attribute of a job was given, with the instant."""
    if db.entid(attribute) is None:
        return []
    datoms = db.history().datoms("eavt", job, attribute)
    return [(db.instant_of(db.t_at(datom.tx)), datom.v) for datom in datoms if datom.added]


@of_database
def blockers(db: Database, job: int | str) -> set[str]:
    """Return the ids of the ancestors that a job waits for and that wait for no other job themselves."""
    return set(factstore.q(_BLOCKERS, db, RULES, lookup.named(db, job)))


@of_database
def backlog(db: Database, *, at: datetime | None = None) -> Backlogs:
    """Return the backlog of each queue; the key None is for the jobs without a queue.

    Args:
        at: the time; None is the time that the database is as of, or now.
    """
    from overseer.planning.by_queue import count_by_queue  # it loads numpy

    now = time_of(db, at)
    settings, counted = queues(db), count_by_queue(db, now, jobs_dead(db, at=now))
    names = sorted(settings.keys() | counted.keys(), key=lambda name: (name is None, name or ""))
    paused: dict[Keyword | None, bool] = {name: queue.paused for name, queue in settings.items()}
    return Backlogs((name, counted.get(name, Backlog())._replace(paused=paused.get(name, False))) for name in names)


class Explanation(NamedTuple):
    """Why a job has its status."""

    status: Status
    why: str
    jobs: tuple[str, ...] = ()  # ids of the jobs that the sentence refers to
    roots: tuple[str, ...] = ()  # ids of the jobs that all others wait for
    before: tuple[Attempt, ...] = ()  # its earlier attempts, if it ran, or will run, more than once

    def _repr_html_(self) -> str:
        """Return the explanation for notebooks: the sentence, and the jobs that it refers to."""
        lists = [("jobs", self.jobs), ("in the end", self.roots)]
        named = "".join(f"<li>{name}: {escape(', '.join(jobs))}</li>" for name, jobs in lists if jobs)
        return f"<p><strong>{escape(self.status.name)}</strong>: {escape(self.why)}</p>" + (
            f"<ul>{named}</ul>" if named else ""
        )


@of_database
def explain(db: Database, job: int | str, *, at: datetime | None = None) -> Explanation:
    """Return why a job is not running, since when it runs, or why it ran more than once.

    Args:
        at: the time; None is the time that the database is as of, or now.
    """
    eid, now = lookup.named(db, job), time_of(db, at)
    status, attempt = lookup.status(db, eid), lookup.value(db, eid, ":job/attempt", 0)
    if status not in STATUSES:
        fault = "it has no status" if status is None else f"its status {status} is unknown"
        return Explanation(status or UNSTARTED, f"{fault}, so no worker takes it; retry it, or abort it")
    explanation = _EXPLAIN[status](db, eid, now)
    if attempt < 1 or (attempt == 1 and status != UNSTARTED):
        return explanation
    runs = attempts(db, eid)
    before = runs if status == UNSTARTED else runs[:-1]
    return (
        explanation._replace(why=f"{explanation.why}; before that, {', '.join(map(str, before))}", before=tuple(before))
        if before
        else explanation
    )


def _explain_unstarted(db: Database, job: int, now: datetime) -> Explanation:
    parents = {parent: lookup.status(db, parent) for parent in lookup.parents(db, job)}
    state = lookup.readiness(db, job)
    if lookup.value(db, job, ":job/type") is None:
        return Explanation(UNSTARTED, "it has no :job/type, so no worker takes it")
    if state == DOOMED:
        lost = [parent for parent, status in parents.items() if status in (FAILED, ABORTED)]
        return Explanation(UNSTARTED, "it will be aborted: these dependencies failed or were aborted", _ids(db, lost))
    if state == WAITING:
        unended = [parent for parent, status in parents.items() if status in (UNSTARTED, STARTED)]
        stuck = obstacle(db, job)
        if stuck is not None:
            why, about = stuck
            return Explanation(UNSTARTED, why, _ids(db, unended), _ids(db, about))
        roots = tuple(sorted(blockers(db, job)))
        return Explanation(
            UNSTARTED, f"it waits for {len(unended)} of its {len(parents)} dependencies", _ids(db, unended), roots
        )
    due = lookup.value(db, job, ":job/run-at")
    if due is not None and due > now:
        last = lookup.value(db, job, ":job/reason")
        wait = lookup.value(db, job, ":job/wait")
        if last == Reason.WAIT and wait is not None:
            return Explanation(UNSTARTED, f"it waits for {waits.describe(db, wait)}, until {due.isoformat()}")
        after = f", after {last.name}" if last else ""
        return Explanation(UNSTARTED, f"it is not due before {due.isoformat()}{after}")
    reason = allowance(db, now).block_reason(
        (lookup.value(db, job, ":job/queue"), lookup.value(db, job, ":job/partition"))
    )
    if reason is not None:
        return Explanation(UNSTARTED, reason)
    return Explanation(
        UNSTARTED, f"it is ready; a worker with a handler for {lookup.value(db, job, ':job/type')} will take it"
    )


def _explain_started(db: Database, job: int, now: datetime) -> Explanation:
    worker, until = lookup.value(db, job, ":job/worker"), lookup.value(db, job, ":job/lease-expires")
    attempt = lookup.value(db, job, ":job/attempt")
    if until is None:
        return Explanation(
            STARTED, "it was started without a lease, so no worker holds it; a worker will take it, or retry it"
        )
    if is_silent(db, job, at=now):
        return Explanation(STARTED, f"{worker} went silent in attempt {attempt}; any worker will take the job from it")
    return Explanation(STARTED, f"{worker} runs attempt {attempt} under a lease until {until.isoformat()}")


def _explain_ended(db: Database, job: int, now: datetime) -> Explanation:
    status, reason = lookup.status(db, job) or FINISHED, lookup.value(db, job, ":job/reason")
    if status == FINISHED:
        attempt = lookup.value(db, job, ":job/attempt")
        return Explanation(
            FINISHED, "it was asserted as finished" if attempt is None else f"it finished in attempt {attempt}"
        )
    cause = lookup.value(db, job, ":job/cause")
    if cause is not None:
        return Explanation(status, "it was aborted because of a job it depends on", _ids(db, [cause]))
    failure = lookup.value(db, job, ":job/failure")
    why = message(failure) if failure else None
    return Explanation(status, f"{reason.name if reason else status.name}: {why}" if why else status.name)


_EXPLAIN: Final = {
    UNSTARTED: _explain_unstarted,
    STARTED: _explain_started,
    FINISHED: _explain_ended,
    FAILED: _explain_ended,
    ABORTED: _explain_ended,
}


def _ids(db: Database, entities: list[int]) -> tuple[str, ...]:
    return tuple(lookup.name(db, job) for job in entities)
