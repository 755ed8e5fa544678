"""Waiting jobs under events, looks of wakers, attempts that end or die, and time, beside a model of a few lines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

import factstore
from overseer import JobStore, WaitExpired, install, job_txn, status, when
from overseer.jobs.states import FINISHED, UNSTARTED, Outcome, Reason
from overseer.jobs.waits import Waiting
from overseer.testing import FakeClock

NAMES = ("a", "b")
WITHIN = timedelta(seconds=60)
VALUE = "[:find ?value . :in $ ?name :where [?e :event/name ?name] [?e :event/value ?value]]"
SCHEMA = [
    {
        ":db/ident": ":event/name",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
    },
    {":db/ident": ":event/value", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
]


@dataclass
class ModelJob:
    name: str  # of its event
    until: datetime | None = None  # its deadline, once it waits
    waits: bool = False  # whether its last attempt ended with the wait
    held: int | None = None  # the answer, once there is one
    result: object = None


class Waits(RuleBasedStateMachine):
    jobs = Bundle("jobs")

    @initialize()
    def open(self):
        self.clock = FakeClock()
        self.conn = factstore.connect("memory:", clock=self.clock)
        install(self.conn)
        self.conn.transact(SCHEMA)
        self.store = JobStore(self.conn, worker="w")
        self.model: dict[str, ModelJob] = {}
        self.events: dict[str, int] = {}

    def teardown(self):
        self.conn.close()

    @rule(target=jobs, name=st.sampled_from(NAMES))
    def enqueue(self, name):
        id = f"j{len(self.model)}"
        self.conn.transact([job_txn(":w", id=id)])
        self.model[id] = ModelJob(name)
        return id

    @rule(name=st.sampled_from(NAMES), value=st.integers(0, 3))
    def happen(self, name, value):
        self.conn.transact([{":event/name": name, ":event/value": value}])
        self.events[name] = value

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def withdraw(self, data):
        name = data.draw(st.sampled_from(sorted(self.events)))
        self.conn.transact([[":db/retract", [":event/name", name], ":event/value", self.events.pop(name)]])

    @rule(seconds=st.sampled_from([1, 30, 61]))
    def pass_time(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def look(self):
        self.store.wake()
        for job in self.model.values():
            if job.waits and job.name in self.events:
                job.waits, job.held = False, self.events[job.name]

    @rule(id=jobs, dies=st.booleans())
    def attempt(self, id, dies):
        job = self.model[id]
        if not self.is_ready(job):
            return
        [claimed] = self.store.claim([self.conn.db().entid([":job/id", id])], lease=timedelta(seconds=30))
        outcome = self.run(claimed, job.name)
        expected = self.expected(job, dies)
        if dies:
            outcome = Outcome(UNSTARTED, reason=Reason.INTERRUPTED)
        elif expected is None:
            assert (Reason.WAIT, job.until) == (outcome.reason, outcome.run_at)
        else:
            assert expected == outcome.result
            job.result = expected
        assert [] == self.store.settle([(claimed.lease, outcome)])

    def run(self, claimed, name):
        """Return what an attempt of a handler means for its job."""
        try:
            return Outcome(FINISHED, result=str(claimed.wait(when(VALUE, name, within=WITHIN))))
        except Waiting as waiting:
            return Outcome(UNSTARTED, facts=waiting.forms, reason=Reason.WAIT, run_at=waiting.until)
        except WaitExpired:
            return Outcome(FINISHED, result=":expired")

    def expected(self, job, dies):
        """Return the result of an attempt in the model; None if it waits."""
        job.waits = False
        if job.held is None:
            job.held = self.events.get(job.name)
        if job.held is not None:
            return str(job.held)
        if job.until is not None:
            return ":expired"
        if not dies:
            job.until, job.waits = self.clock() + WITHIN, True
        return None

    def is_ready(self, job):
        return job.result is None and (not job.waits or self.clock() >= job.until)

    @invariant()
    def the_ready_jobs_are_those_of_the_model(self):
        if hasattr(self, "model"):
            ready = {id for id, job in self.model.items() if self.is_ready(job)}
            assert ready == status.jobs_ready(self.conn.db(), at=self.clock())

    @invariant()
    def the_open_waits_are_those_of_the_model(self):
        if hasattr(self, "model"):
            rows = factstore.q(
                "[:find ?id ?until :where [?j :job/reason :job.reason/wait] [?j :job/wait ?w] [?w :wait/until ?until] [?j :job/status :job.status/unstarted] [?j :job/id ?id]]",
                self.conn.db(),
            )
            assert {(id, job.until) for id, job in self.model.items() if job.waits} == rows


TestWaits = Waits.TestCase
TestWaits.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
