"""Public functions that read take a database, and those that write take a connection: the one in the place of the other is told."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta

import pytest

import overseer
from overseer import JobRef, JobStore, Worker, cron, install, plan, questions, retention, revert, simple_graph, status, transact_graph
from overseer.errors import OverseerError
from overseer.status import silence
from overseer.testing import drain

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULE = retention.Rule(timedelta(1))

READERS = {
    "revert": lambda db: revert(db, 1),
    "plan": lambda db: plan(db, now=NOW),
    "schedules": cron.schedules,
    "problems": cron.problems,
    "due": lambda db: cron.due(db, NOW),
    "prunable": lambda db: retention.prunable(db, RULE, NOW),
    "jobs_with_status": lambda db: status.jobs_with_status(db, "failed"),
    "jobs_unstarted": status.jobs_unstarted,
    "jobs_ready": status.jobs_ready,
    "jobs_dead": status.jobs_dead,
    "dependents": lambda db: status.dependents(db, "j"),
    "counts": status.counts,
    "counts_by_type": status.counts_by_type,
    "history": lambda db: status.history(db, "j"),
    "attempts": lambda db: status.attempts(db, "j"),
    "blockers": lambda db: status.blockers(db, "j"),
    "backlog": status.backlog,
    "unanswered": questions.unanswered,
    "answers": lambda db: questions.answers(db, "j"),
    "explain": lambda db: status.explain(db, "j"),
    "is_silent": lambda db: status.is_silent(db, "j"),
}
WITHIN = {
    "unreferred",
    "any_schedules",
    "read_schedule",
    "schedule_entities",
    "tick_portion",
    "time_of",
    "silent_workers",
}  # for other modules of the package
WRITERS = {
    "install": install,
    "transact_graph": lambda conn: transact_graph(conn, simple_graph()),
    "JobRef": lambda conn: JobRef(conn, "j", str),
    "JobStore": lambda conn: JobStore(conn, worker="w"),
    "Worker": lambda conn: Worker(conn, {"a": lambda job: None}),
    "tick": lambda conn: cron.tick(conn, NOW),
    "run_now": lambda conn: cron.run_now(conn, "s"),
    "backfill": lambda conn: cron.backfill(conn, "s", NOW, NOW),
    "prune": lambda conn: retention.prune(conn, RULE, now=NOW),
    "drain": lambda conn: drain(conn, {"a": lambda job: None}),
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_names_the_database_of_a_connection(conn, name):
    with pytest.raises(
        OverseerError, match=f"^:job.error/bad-argument: {name} takes a database first, got a connection; give conn.db"
    ) as error:
        READERS[name](conn)
    assert name == error.value.function
    assert conn == error.value.got
    with pytest.raises(OverseerError, match=f"{name} takes a database first, got None"):
        READERS[name](None)


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_asks_for_the_connection_of_a_database(conn, name):
    t = conn.db().basis_t
    with pytest.raises(OverseerError, match=f"{name} takes a connection first, got a database; .* give the connection") as error:
        WRITERS[name](conn.db())
    assert ":job.error/bad-argument" == error.value.code
    assert name == error.value.function
    assert t == conn.db().basis_t
    with pytest.raises(OverseerError, match=f"{name} takes a connection first, got 'shop.facts'$"):
        WRITERS[name]("shop.facts")


def test_every_public_function_of_a_database_or_a_connection_is_asked_here():
    of_modules = {
        name: value
        for module in (status, silence, cron, questions, retention)
        for name, value in vars(module).items()
        if is_own(module, value)
    }
    public = {**of_modules, **{name: getattr(overseer, name) for name in overseer.__all__}}
    first = {name: next(iter(inspect.signature(value).parameters), "") for name, value in public.items() if callable(value)}
    assert {name for name, parameter in first.items() if parameter == "db"} - WITHIN == set(READERS)
    assert {name for name, parameter in first.items() if parameter == "conn"} - WITHIN == set(WRITERS) - {"drain"}


def is_own(module, value):
    return inspect.isfunction(value) and value.__module__ == module.__name__ and not value.__name__.startswith("_")
