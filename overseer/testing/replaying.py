"""Run the jobs of a past moment again, with other handlers, and compare with what happened. Nothing is written.

    the database of then, as a branch ──► its jobs, run by new handlers ──► outcomes ─┐
    the database of now               ──► the same jobs, as they ended      ──► outcomes ─┴─► differences

An outcome is the status of a job, the number of its attempts since then, its result, its failure, and the facts of the
transaction in which it ended.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import factstore
from factstore import Keyword, quoted
from overseer.handler import Handlers, check_handlers
from overseer.jobs import lookup
from overseer.jobs.leases import standing
from overseer.jobs.states import ENDED, LOST, STARTED
from overseer.jobs.store import JobStore
from overseer.sources import check_connection
from overseer.testing.branch import Branch, BranchConnection
from overseer.testing.clock import START, FakeClock
from overseer.testing.draining import drain
from overseer.testing.simulation.explore import quiet
from overseer.testing.simulation.scenario import live_jobs
from overseer.testing.simulation.story import OWN, namespace_of
from overseer.worker import Config

if TYPE_CHECKING:
    from factstore import Connection, Database, Datom

Fact: TypeAlias = tuple[str, Keyword, Any, bool]  # the name of the entity, attribute, value, whether it was added

_MANY: Final = 1_000_000
_MESSAGE: Final = Keyword(":message")


class Outcome(NamedTuple):
    """How a job ended, or where it is."""

    status: Keyword | None
    attempts: int
    result: str | None
    failure: str | None
    facts: frozenset[Fact]


@factstore.rendering.shown_as_record
@dataclass(frozen=True)
class Difference:
    """A job that did not end in the replay as it did in reality.

    Args:
        job: its id.
        what: the parts of the outcome that differ: "status", "attempts", "result", "failure", "facts".
        really: the outcome that happened.
        replayed: the outcome in the replay.
    """

    job: str
    type: Keyword
    what: tuple[str, ...]
    really: Outcome
    replayed: Outcome

    def __str__(self) -> str:
        lines = [f"{self.type} {self.job}:"]
        for part in self.what:
            if part != "facts":
                lines.append(f"  {part}: {getattr(self.really, part)} → {getattr(self.replayed, part)}")
        lines += [f"  only in reality:   {_text(fact)}" for fact in _without(self.really, self.replayed)]
        lines += [f"  only in the replay: {_text(fact)}" for fact in _without(self.replayed, self.really)]
        return "\n".join(lines)


def _without(outcome: Outcome, other: Outcome) -> list[Fact]:
    return sorted(outcome.facts - other.facts, key=repr)


def _text(fact: Fact) -> str:
    entity, attribute, value, added = fact
    return f"{'added' if added else 'retracted'} {attribute} of {entity}: {quoted(value)}"


@factstore.rendering.shown_as_record
@dataclass(frozen=True)
class Replayed:
    """The result of a replay.

    Args:
        jobs: the number of jobs that were compared.
        attempts: the number of attempts in the replay.
        differences: the jobs with another outcome, in order of their ids.
        db: the database at the end of the replay.
    """

    jobs: int
    attempts: int
    differences: Sequence[Difference]
    db: Database

    def __str__(self) -> str:
        same = self.jobs - len(self.differences)
        head = f"{self.jobs} jobs in {self.attempts} attempts: {same} as they were, {len(self.differences)} different"
        return "\n".join([head, *map(str, self.differences)])


def replay(
    store: Connection | str,
    *,
    as_of: Any,
    app: Handlers,
    config: Config | Mapping[str, Any] | None = None,
    seed: int | None = 0,
    most: int = 100_000,
) -> Replayed:
    """Run the jobs that were live at a past moment with other handlers, in memory, and compare with what happened.

    Jobs that were started then begin again. Waiting takes no time. Nothing is written to the store, but effects of the
    handlers outside of it happen: give handlers with fakes for these.

    Args:
        store: a connection, or the path or uri of a store.
        as_of: the moment: t, a transaction's entity id, or an aware datetime.
        app: the handlers by job type; jobs of other types do not run. Jobs that were inserted later are not compared.
        config: retry policies and `max_crashes`; its other settings have no effect.
        seed: determines the order of ready jobs.
        most: maximum number of attempts, after which a RuntimeError is raised.
    """
    by_type = check_handlers(app)
    with ExitStack() as closing:
        conn = closing.enter_context(factstore.connect(store, read_only=True)) if isinstance(store, str) else store
        check_connection(replay, conn)
        now = conn.db()
        past = now.branch(as_of)
        branch = Branch(past, FakeClock(past.instant_of(past.basis_t) or START))
        with quiet():
            attempts = _run(BranchConnection(branch), by_type, Config.of(config), seed, most)
        jobs = [job for job in live_jobs(past) if lookup.value(past, job, ":job/type") in by_type]
        logged = (transaction.data for transaction in conn.log().tx_range(past.basis_t + 1))
        running = {job for job in jobs if lookup.status(past, job) == STARTED}
        really = _outcomes(past, now, logged, jobs, running)
    replayed = _outcomes(past, branch.db, (report.tx_data for report in branch.reports), jobs)
    differences = [_difference(past, job, really[job], replayed[job]) for job in jobs if really[job] != replayed[job]]
    return Replayed(len(jobs), attempts, sorted(differences, key=lambda difference: difference.job), branch.db)


def _run(conn: BranchConnection, by_type: Mapping[Any, Any], config: Config, seed: int | None, most: int) -> int:
    """Run all jobs of a branch; those that were started are taken from their workers first."""
    started = standing(conn.db())
    if started:
        JobStore(conn, worker="replay").rescue(started, max_crashes=_MANY)
    return drain(conn, by_type, seed=seed, wait=True, most=most, config=config)


def _outcomes(
    past: Database,
    db: Database,
    transactions: Iterable[Iterable[Datom]],
    jobs: Iterable[int],
    running: Container[int] = (),
) -> dict[int, Outcome]:
    """Return what became of jobs up to a database.

    Args:
        transactions: the datoms of each transaction from the past moment to the database.
        running: the jobs whose attempt at the past moment counts, because it was continued.
    """
    status_id = db.schema.attribute(":job/status").id
    facts: dict[int, frozenset[Fact]] = {}
    for datoms in transactions:
        datoms = list(datoms)
        ended = [datom.e for datom in datoms if datom.a == status_id and datom.added and datom.v in ENDED]
        if ended:  # several only if they have no facts
            facts |= dict.fromkeys(ended, _facts(past, db, datoms))
    before = {job: lookup.value(past, job, ":job/attempt", 0) - (job in running) for job in jobs}
    return {job: _outcome(db, job, before[job], facts.get(job, frozenset())) for job in jobs}


def _outcome(db: Database, job: int, before: int, facts: frozenset[Fact]) -> Outcome:
    about = lookup.attributes(db, job)
    status, attempts = about.get(":job/status"), about.get(":job/attempt", 0) - before
    failed = status in LOST and ":job/failure" in about  # a job that finished may have failed before
    failure = str(factstore.edn.read(about[":job/failure"]).get(_MESSAGE)) if failed else None
    return Outcome(status, attempts, about.get(":job/result"), failure, facts)


def _facts(past: Database, db: Database, datoms: Iterable[Datom]) -> frozenset[Fact]:
    """Return the facts of a transaction that are not of the job layer."""
    facts = set()
    for datom in datoms:
        attribute = db.schema.attribute(datom.a)
        if namespace_of(attribute.ident) not in OWN:
            value = _named(past, db, datom.v) if attribute.is_ref else datom.v
            facts.add((_named(past, db, datom.e), attribute.ident, value, datom.added))
    return frozenset(facts)


def _named(past: Database, db: Database, e: int) -> str:
    """Return a name of an entity that is the same in both; a new entity may have another id in the replay."""
    unique = (datom.v for datom in db.datoms("eavt", e) if db.schema.attribute(datom.a).unique is not None)
    identity = next(unique, None)
    if identity is not None:
        return quoted(identity)
    return str(e) if any(True for _ in past.datoms("eavt", e)) else "a new entity"


def _difference(past: Database, job: int, really: Outcome, replayed: Outcome) -> Difference:
    what = tuple(part for part in Outcome._fields if getattr(really, part) != getattr(replayed, part))
    return Difference(lookup.name(past, job), lookup.value(past, job, ":job/type"), what, really, replayed)
