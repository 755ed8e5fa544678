"""A law of all public classes: a value can be pickled, or the error names its class and says what to send instead."""

from __future__ import annotations

import copy
import pickle
import threading
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

import factstore
from factstore import DatabaseError, FactStoreError, builder
from factstore.console import OneTimeLink
from overseer import (
    App,
    Config,
    Graph,
    Job,
    JobRef,
    JobStore,
    Result,
    Retry,
    Worker,
    events,
    install,
    job_txn,
    start,
    status,
    when,
)
from overseer.retry import constant, exponential
from overseer.testing import drain, replay, simulate
from tests.factstore.test_shown_in_notebooks import VALUES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Q = "[:find ?e :where [?e :db/ident]]"
APP = App()
# Whether it is immutable, so that it is its own copy.
BOUND = {
    **dict.fromkeys(["Database", "Entity", "JobRef", "Log", "TxReport"], True),
    **dict.fromkeys(["AnswerCache", "AsyncConnection", "Connection", "Datoms", "JobStore", "OneTimeLink", "PendingReport"], False),
    **dict.fromkeys(["RowSeq", "Running", "Transaction", "TransactionBlock", "TxReports", "Worker"], False),
}
HAVE_A_DATABASE = ("Claimed", "Replayed")


@APP.job()
def send(job: Job, to: str) -> None: ...


def of_facts(conn: factstore.Connection) -> dict[str, Any]:
    db = conn.db()
    with conn.transaction() as ended:
        ended.transact([])
    doc = builder.var(str, "doc")
    return {
        "AnswerCache": factstore.AnswerCache(),
        "AsyncConnection": factstore.AsyncConnection(conn),
        "Connection": conn,
        "Attr": factstore.Attr(doc="x"),
        "Into": factstore.Into(":a/b"),
        "Source": builder.source("more"),
        "Built": builder.find(doc).where(builder.fact(builder.ANY, ":db/doc", doc)),
        "Check": factstore.maintain.check(conn),
        "Database": db,
        "Datoms": db.datoms("eavt"),
        "Entity": db.entity(":db/ident"),
        "Explanation": factstore.explain(Q, db),
        "EntityHistory": factstore.entity_history(db, ":db/ident"),
        "Log": conn.log(),
        "OneTimeLink": OneTimeLink(),
        "PendingReport": conn.transact_async([]),
        "Records": status.jobs(db),
        "RowSeq": factstore.qseq(Q, db),
        "Rows": db.rows(Q),
        "Transaction": ended,
        "TransactionBlock": conn.transaction(),
        "TxReport": conn.transact([]),
        "TxReports": conn.tx_reports(),
    }


def of_jobs(conn: factstore.Connection, stack: ExitStack) -> dict[str, Any]:
    began = conn.db().basis_t
    jobs: list[Job] = []
    told: list[events.Event] = []
    conn.transact([job_txn("look", id="1")])
    drain(conn, {"look": lambda job: jobs.append(job)}, config=Config(listeners=(told.append,)))
    ref = send.enqueue(conn, to="x")
    graph = APP.graph()
    graph.add(send, to="x")
    replayed = replay(conn, as_of=began + 1, app={"look": print})
    return {
        "App": APP,
        "TypedJob": send,
        "JobGraph": graph,
        "JobRef": ref,
        "Job": jobs[0],
        "Graph": Graph({}, {}),
        "Result": Result(3),
        "JobStore": JobStore(conn, worker="w"),
        "Worker": Worker(conn, APP),
        "Config": Config(),
        "Retry": Retry(3),
        "Attempts": status.attempts(conn.db(), "1"),
        "Backlogs": status.backlog(conn.db()),
        "When": when(Q, within="1m"),
        "Running": stack.enter_context(start({"store": "memory:"}, APP)),
        "Event": events.Event(at=NOW, worker="w"),
        "Fatal": events.Fatal(at=NOW, worker="w", error=ValueError("x")),
        **{type(event).__name__: event for event in told},
        "Replayed": replayed,
        "Simulated": simulate(conn, APP, schedules=1),
    }


@pytest.fixture(scope="module")
def objects():
    with ExitStack() as stack:
        conn = stack.enter_context(factstore.connect("memory:"))
        install(conn)
        yield of_facts(conn) | of_jobs(conn, stack)


def test_the_law_is_about_every_public_class(objects):
    """Tuples contain their fields, and events are alike."""
    classes = {each.__name__ for each in VALUES.values() if not issubclass(each, tuple | events.JobEvent)}
    assert set() == classes - objects.keys() - {"Difference"}
    assert {"Started", "Finished"} <= objects.keys()


def test_a_public_value_can_be_pickled_or_its_error_says_what_to_send(objects):
    for name, value in objects.items():
        if name in BOUND or name in HAVE_A_DATABASE:
            bound = "Database" if name in HAVE_A_DATABASE else name
            with pytest.raises(
                DatabaseError, match=f"the class {bound} belongs to its process, and cannot be copied or pickled: "
            ) as caught:
                pickle.dumps([value])
            assert (":db.error/process-bound", bound) == (caught.value.code, caught.value.kind)
        else:
            assert type(value) is type(pickle.loads(pickle.dumps(value))), name


def test_a_public_value_can_be_copied_or_its_error_says_that_it_cannot(objects):
    for name, value in objects.items():
        for copied in (copy.copy, copy.deepcopy):
            if BOUND.get(name, True):
                assert (copied(value) is value) or name not in BOUND, name
            else:
                with pytest.raises(DatabaseError, match=f"the class {name} belongs to its process"):
                    copied(value)


def test_a_reference_to_a_job_says_how_it_is_made_in_another_process(objects):
    with pytest.raises(DatabaseError, match=r"send its id, and make a reference there, as in JobRef\(connect\(address\), id, decode\)"):
        pickle.dumps(objects["JobRef"])
    again = JobRef(objects["Connection"], objects["JobRef"].id, objects["JobRef"].decode)
    assert "unstarted" == again.status.name


def test_a_copied_app_declares_its_attributes_in_other_stores():
    for again in (copy.deepcopy(APP), pickle.loads(pickle.dumps(APP))):
        with factstore.connect("memory:") as conn:
            again.install(conn)
            assert [":send"] == list(map(str, again))
            assert conn.db().entid(":send/to") is not None


@pytest.mark.parametrize("backoff", [constant(3.0), exponential(2.0, factor=3.0, longest=7.0)])
def test_a_policy_of_retries_that_was_sent_pauses_alike(backoff):
    policy = Retry(5, backoff)
    again = pickle.loads(pickle.dumps(policy))
    assert [backoff(n) for n in (1, 2, 5000)] == [again.backoff(n) for n in (1, 2, 5000)]


class Unprintable:
    def __init__(self):
        self.lock = threading.Lock()

    def __repr__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize("given", [threading.Lock(), Unprintable(), lambda: 1], ids=["lock", "unprintable", "function"])
def test_an_error_about_an_object_of_this_process_can_leave_it(given):
    error = FactStoreError(":db.error/wrong-type", "expected a string", attribute=":x/s", value=given, others=[1, given])
    again = pickle.loads(pickle.dumps(error))
    assert (FactStoreError, ":db.error/wrong-type", "expected a string") == (type(again), again.code, again.message)
    assert ":x/s" == again.attribute and isinstance(again.value, str) and isinstance(again.others, str)


def test_the_error_of_a_transaction_with_a_connection_as_value_can_leave_its_process():
    with factstore.connect("memory:") as conn:
        conn.transact([{":db/ident": ":x/s", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}])
        with pytest.raises(FactStoreError) as raised:
            conn.transact([{":x/s": conn}])
    assert str(raised.value) == str(pickle.loads(pickle.dumps(raised.value)))
