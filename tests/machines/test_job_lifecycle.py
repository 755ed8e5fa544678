"""The whole life of jobs, against a reference queue of forty lines.

Several workers claim, beat, finish, fail, are rescued from, and wake up as zombies with leases that they lost long ago; operators
abort and retry; the clock moves. After every step the store says of each job what the model says, the ready set kept from the log
equals the model's, and of every attempt at most one result was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

import factstore
from overseer import JobStore, install, job_txn, status
from overseer.errors import LeaseLost
from overseer.job import ABORTED, FAILED, FINISHED, MOVES, STARTED, UNSTARTED, Outcome
from overseer.ready import ReadySet
from overseer.testing import FakeClock

LEASE = timedelta(seconds=30)
MAX_CRASHES = 2
ENDS = (FINISHED, FAILED, ABORTED, UNSTARTED)


@dataclass
class ModelJob:
    deps: list[str]
    status: str = UNSTARTED
    attempt: int = 0
    expires: float = 0.0
    not_before: float = 0.0
    crashes: int = 0
    cause: str | None = None
    effects: list[str] = field(default_factory=list)


class Reference:
    """A queue in plain Python: one dict, no concurrency, no clever data."""

    def __init__(self):
        self.jobs: dict[str, ModelJob] = {}
        self.now = 0.0

    def ready(self):
        return {id for id, job in self.jobs.items() if self._free(job) and job.not_before <= self.now}

    def _free(self, job):
        return job.status == UNSTARTED and all(self.jobs[dep].status == FINISHED for dep in job.deps)

    def claim(self, id):
        job = self.jobs[id]
        if job.status != UNSTARTED:
            return False
        job.status, job.attempt, job.expires = STARTED, job.attempt + 1, self.now + 30
        return True

    def holds(self, id, attempt):
        return self.jobs[id].status == STARTED and self.jobs[id].attempt == attempt

    def end(self, id, to, effect=None):
        self.jobs[id].status = to
        if effect:
            self.jobs[id].effects.append(effect)
        if to in (FAILED, ABORTED):
            self.give_up_below(id, id)

    def give_up_below(self, id, cause):
        for child, job in self.jobs.items():
            if id in job.deps and job.status == UNSTARTED:
                job.status, job.cause = ABORTED, cause
                self.give_up_below(child, cause)

    def rescue(self):
        dead = [id for id, job in self.jobs.items() if job.status == STARTED and job.expires < self.now]
        for id in dead:
            job = self.jobs[id]
            job.crashes += 1
            if job.crashes >= MAX_CRASHES:
                self.end(id, FAILED)
            else:
                job.status, job.not_before = UNSTARTED, self.now
        return len(dead)

    def retry(self, id):
        job = self.jobs[id]
        if job.status not in (FAILED, ABORTED):
            return False
        job.status, job.crashes, job.not_before, job.cause = UNSTARTED, 0, 0.0, None
        for other in self.jobs.values():
            if other.cause == id and other.status == ABORTED:
                other.status, other.cause = UNSTARTED, None
        return True


class Lifecycle(RuleBasedStateMachine):
    jobs = Bundle("jobs")
    leases = Bundle("leases")

    @initialize()
    def open(self):
        self.clock = FakeClock()
        self.conn = factstore.connect("memory:", clock=self.clock)
        install(self.conn)
        self.conn.transact([{":db/ident": ":effect/of", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}])
        self.workers = [JobStore(self.conn, worker=f"w{n}") for n in range(3)]
        self.model = Reference()
        self.ready = ReadySet()
        self.reports = self.conn.tx_reports()
        self.ready.load(self.conn.db())

    def teardown(self):
        if hasattr(self, "conn"):
            self.conn.close()

    def eid(self, id):
        return self.conn.db().entid([":job/id", id])

    @rule(target=jobs, deps=st.lists(jobs, max_size=3, unique=True))
    def insert(self, deps):
        """Only below jobs that can still end well: adding below a failure is the business of `give_up`."""
        id = f"j{len(self.model.jobs)}"
        deps = [dep for dep in deps if self.model.jobs[dep].status not in (FAILED, ABORTED)]
        self.conn.transact([job_txn(":work", id=id), *([":db/add", id, ":job/dep", self.eid(dep)] for dep in deps)])
        self.model.jobs[id] = ModelJob(deps)
        return id

    @rule(target=leases, wanted=st.lists(jobs, min_size=1, max_size=3, unique=True), worker=st.integers(0, 2))
    def claim(self, wanted, worker):
        """Any job may be asked for, ready or not so: a worker's picture of the world may be old."""
        free = [id for id in wanted if all(self.model.jobs[dep].status == FINISHED for dep in self.model.jobs[id].deps)]
        won = self.workers[worker].claim([self.eid(id) for id in free], lease=LEASE)
        assert [id for id in free if self.model.claim(id)] == [job.id for job in won]
        assert [self.model.jobs[job.id].attempt for job in won] == [job.attempt for job in won]
        return multiple(*(job.lease for job in won))

    @rule(lease=leases, worker=st.integers(0, 2))
    def beat(self, lease, worker):
        lost = self.workers[worker].beat([lease], lease=LEASE)
        assert ([] if self.model.holds(lease.id, lease.attempt) else [lease]) == lost
        if not lost:
            self.model.jobs[lease.id].expires = self.model.now + 30

    @rule(ending=st.lists(st.tuples(leases, st.sampled_from(ENDS), st.booleans()), min_size=1, max_size=3))
    def end(self, ending):
        """Several at once, old leases and new ones mixed; facts come with success only."""
        ending = list({lease: (lease, to, effect and to == FINISHED) for lease, to, effect in ending}.values())
        outcomes = [
            (lease, Outcome(to, facts=[{":effect/of": f"{lease.id} {lease.attempt}"}] if effect else ())) for lease, to, effect in ending
        ]
        rejected = self.workers[0].settle(outcomes)
        assert all(isinstance(error, LeaseLost) for _, error in rejected)
        # Plain ends commit first, in one transaction; the rest one after the other.
        plain = [each for each in ending if each[1] == FINISHED and not each[2]]
        lost = set()
        for lease, to, effect in [*plain, *(each for each in ending if each not in plain)]:
            if self.model.holds(lease.id, lease.attempt):
                self.model.end(lease.id, to, f"{lease.id} {lease.attempt}" if effect else None)
            else:
                lost.add(lease)
        assert lost == {lease for lease, _ in rejected}

    @rule(seconds=st.sampled_from([1, 10, 29, 31, 100, 4000]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)
        self.model.now += seconds

    @rule(worker=st.integers(0, 2))
    def rescue(self, worker):
        assert self.model.rescue() == len(self.workers[worker].rescue(max_crashes=MAX_CRASHES))

    @rule(id=jobs)
    def operator_aborts(self, id):
        live = self.model.jobs[id].status in (UNSTARTED, STARTED)
        assert live == self.workers[0].abort(id, "by hand")
        if live:
            self.model.end(id, ABORTED)

    @rule(id=jobs)
    def operator_retries(self, id):
        assert self.model.retry(id) == self.workers[0].retry(id)

    @rule()
    def give_up_the_doomed(self):
        """Jobs brought back below a parent that failed as well."""
        self.absorb()
        self.workers[1].give_up(sorted(self.ready.take_doomed()))
        for id in sorted(self.model.jobs, key=lambda id: int(id[1:])):
            lost = [dep for dep in self.model.jobs[id].deps if self.model.jobs[dep].status in (FAILED, ABORTED)]
            if self.model.jobs[id].status == UNSTARTED and lost:
                cause = self.model.jobs[lost[0]].cause or lost[0]
                self.model.jobs[id].status, self.model.jobs[id].cause = ABORTED, cause
                self.model.give_up_below(id, cause)

    def absorb(self):
        while (report := self.reports.get(0.0)) is not None:
            self.ready.absorb(report.db_after, report.tx_data)

    @invariant()
    def the_store_says_what_the_model_says(self):
        if not hasattr(self, "conn"):
            return
        db = self.conn.db()
        told = factstore.q("[:find ?id ?s :where [?j :job/id ?id] [?j :job/status ?s]]", db)
        assert {(id, job.status) for id, job in self.model.jobs.items()} == told
        attempts = factstore.q("[:find ?id ?n :where [?j :job/id ?id] [?j :job/attempt ?n]]", db)
        assert {(id, job.attempt) for id, job in self.model.jobs.items() if job.attempt} == attempts

    @invariant()
    def the_ready_set_is_the_models(self):
        if not hasattr(self, "conn"):
            return
        self.absorb()
        picked = self.ready.pick(1000, now=self.clock(), random=Random(0))
        db = self.conn.db()
        for job in picked:
            self.ready.look(db, job)
        assert self.model.ready() == {datom.v for job in picked for datom in db.datoms("eavt", job, ":job/id")}
        assert self.model.ready() == status.jobs_ready(db, at=self.clock())

    @invariant()
    def of_every_attempt_at_most_one_result_is_recorded(self):
        if not hasattr(self, "conn"):
            return
        db = self.conn.db()
        effects = sorted(factstore.q("[:find [?e ...] :with ?x :where [?x :effect/of ?e]]", db))
        assert sorted(effect for job in self.model.jobs.values() for effect in job.effects) == effects
        moves = factstore.q("[:find ?old ?new ?j ?tx :where [?j :job/status ?old ?tx false] [?j :job/status ?new ?tx true]]", db.history())
        assert [] == [(old, new) for old, new, _, _ in moves if new not in MOVES[old]]


TestLifecycle = Lifecycle.TestCase
# Many rules wait for a lease that there is none of yet; that is the machine's nature, not a mistake in it.
TestLifecycle.settings = settings(
    stateful_step_count=25, max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
