"""The whole life of jobs, against a reference queue, with a crash at any write.

Several workers, each a process of its own with its own connection, claim, beat, stall, finish, fail, snooze, are rescued from, and wake
up as zombies with leases that they lost long ago; operators abort, retry, pause and limit; the clock jumps forward and back. Any
write may be refused, left in doubt, raced by somebody else's, or be its process's last. After every step the store says of each
job what the model says, the ready set kept from the log equals the model's, and of every attempt at most one result was recorded.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from itertools import count
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import factstore
from factstore import Keyword, TransactError
from factstore.errors import StorageError
from factstore.testing import FaultyStorage
from factstore.testing import strategies as fs
from overseer import JobStore, install, job_txn, once, queue, status, unique
from overseer.errors import LeaseLost
from overseer.jobs.leases import expired
from overseer.jobs.queues import allowance
from overseer.jobs.states import ABORTED, FAILED, FINISHED, LIVE, MOVES, STARTED, UNSTARTED, Outcome, Reason
from overseer.testing import FakeClock
from overseer.worker.ready import ReadySet
from tests.machines.reference_queue import LEASE, MAX_CRASHES, ModelJob, Reference

LASTS = timedelta(seconds=LEASE)
ENDS = (FINISHED, FAILED, ABORTED, UNSTARTED)
QUEUES = ("q0", "q1")
WORKERS = st.integers(0, 2)
WHICH = st.integers(0, 63)
# A fault at a write of the move. The last two kinds must go unnoticed.
KINDS = ("dies before", "dies after", "dies unanswered", "refused", "unsent", "unanswered")
FAULT = st.none() | st.none() | fs.faults(verbs=["append"], kinds=KINDS, max_after=2)
_NAMES = count()


class Process:
    """A worker with a connection of its own to the store that all share; one that died is followed by another of another name."""

    def __init__(self, name, clock):
        self._name, self._clock, self._lives = name, clock, 0
        self._begin()

    def _begin(self):
        self._lives += 1
        self.storage = FaultyStorage(f"memory:{self._name}")
        self.conn = self.storage.connect(clock=self._clock)
        self.store = JobStore(self.conn, worker=f"{id(self)}.{self._lives}")

    def run(self, move, fault, before=None):
        """Make a move, and return what it gives, and whether it was cut short."""
        if before is not None:
            self.conn._committer._contended = 0  # with the writer's turn taken first, nobody could come in between
        self.storage.arm(fault)
        self.storage.before("append", before)
        try:
            return move(self.store), False
        except StorageError:
            assert fault is not None, "nothing was to fail"
            return None, True
        finally:
            self.storage.arm(None)
            self.storage.before("append", None)
            if self.storage.dead:
                self.close()
                self._begin()

    def close(self):
        self.conn.close()


class Lifecycle(RuleBasedStateMachine):
    @initialize()
    def open(self):
        self.clock = FakeClock()
        self.name = f"lifecycle-{next(_NAMES)}"
        self.conn = factstore.connect(f"memory:{self.name}", clock=self.clock)
        install(self.conn)
        self.conn.transact([{":db/ident": ":effect/of", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}])
        self.workers = [Process(self.name, self.clock) for _ in range(3)]
        self.operator = JobStore(self.conn, worker="operator")
        self.model = Reference()
        self.ready = ReadySet()
        self.reports = self.conn.tx_reports()
        self.ready.load(self.conn.db())
        self.leases = []  # all there ever were
        self.left_out = 0

    def teardown(self):
        if hasattr(self, "conn"):
            for worker in self.workers:
                worker.close()
            self.conn.close()

    def eid(self, id):
        return self.conn.db().entid([":job/id", id])

    def tick(self):
        """Tell the model the time, which may go back."""
        self.conn.db()
        self.model.now = self.conn.now().timestamp()

    def move(self, worker, fault, move, items, apply):
        """Make a move in store and model, and compare what they give; None when it was cut short.

        Then each item moved whole or not at all, and the model takes over which.

        Args:
            apply: makes the move of one item in a model, and tells whether it was won.
        """
        self.tick()
        given, cut = self.workers[worker].run(move, fault)
        if not cut:
            won = [item for item in items if apply(self.model, item)]
            return given, won
        for item in items:
            trial = deepcopy(self.model)
            apply(trial, item)
            changed = {id for id, job in trial.jobs.items() if job != self.model.jobs.get(id)}
            if all(self.told(id) == self.shown(trial.jobs[id]) for id in changed):
                self.model = trial
        return None

    def alone(self):
        """Return the started jobs whose worker holds no other."""
        query = "[:find ?id ?worker :where [?j :job/status :job.status/started] [?j :job/id ?id] [?j :job/worker ?worker]]"
        holders = dict(factstore.q(query, self.conn.db()))
        return {id for id, worker in holders.items() if list(holders.values()).count(worker) == 1}

    def told(self, id):
        """Return what the store says of a job."""
        db = self.conn.db()
        told = factstore.pull(db, "[:job/status :job/attempt]", self.eid(id)) if self.eid(id) else None
        effects = factstore.q("[:find [?e ...] :with ?x :where [?x :effect/of ?e]]", db)
        own = sorted(effect for effect in effects if effect.split()[0] == id)
        return told and (told[":job/status"], told.get(":job/attempt", 0), own)

    @staticmethod
    def shown(job):
        return job.status, job.attempt, sorted(job.effects)

    # -- what moves are about: mostly what can move, and sometimes anything, for a worker's picture of the world may be old

    def one_of(self, which, likely, anything):
        """Return what a number means, mostly of the likely ones, if there are any."""
        likely = list(likely)
        found = likely if likely and which % 4 else anything
        return found[which % len(found)]

    def free(self, which):
        return self.one_of(which, sorted(self.model.ready(), key=self.eid), list(self.model.jobs))

    def lease(self, which):
        """Most often one that holds its job; else that of a zombie whose job somebody else holds by now."""
        held = [lease for lease in self.leases if self.model.holds(lease.id, lease.attempt)]
        overtaken = [lease for lease in self.leases if self.model.jobs[lease.id].status == STARTED and lease not in held]
        return self.one_of(which, held, overtaken or self.leases)

    # -- jobs come in

    def new(self, deps, queue, priority):
        id = f"j{len(self.model.jobs) + self.left_out}"
        job = job_txn(":work", id=id, queue=queue, priority=priority or None)
        job = {**job, **({":job/dep": [self.eid(dep) for dep in deps]} if deps else {})}
        return id, job, ModelJob(deps, queue and f":{queue}", priority)

    @rule(below=st.lists(WHICH, max_size=2), queue=st.sampled_from([None, "q0", *QUEUES]), priority=st.integers(0, 2))
    def insert(self, below, queue, priority):
        """Only below jobs that can still end well: adding below a failure is the business of `give_up`."""
        possible = [id for id, job in self.model.jobs.items() if job.status not in (FAILED, ABORTED)]
        self.insert_one(sorted({possible[which % len(possible)] for which in below}) if possible else [], queue, priority)

    def insert_one(self, deps, queue, priority):
        id, job, known = self.new(deps, queue, priority)
        self.conn.transact([job])
        self.model.jobs[id] = known

    @rule(most=st.integers(2, 4), queue=st.sampled_from([None, "q0", *QUEUES]))
    def insert_several(self, most, queue):
        for _ in range(most):
            self.insert_one([], queue, 0)

    @rule(key=st.sampled_from(["k0", "k1"]), below=st.lists(WHICH, max_size=1))
    def insert_unique(self, key, below):
        """A live job of the same key, whatever became of those before it, leaves this one out."""
        possible = [id for id, job in self.model.jobs.items() if job.status not in (FAILED, ABORTED)]
        id, job, known = self.new([possible[which % len(possible)] for which in below if possible], None, 0)
        self.conn.transact([unique(key, job)])
        won = self.model.insert_unique(key, id, known)
        self.left_out += not won
        assert won == (self.eid(id) is not None)

    @rule(status=st.sampled_from([STARTED, STARTED, Keyword(":job.status/none-such")]))
    def import_a_job_that_nobody_holds(self, status):
        """Started without a lease, as a dump or somebody's hand may leave it; or of a status that is none, which only an operator ends."""
        id, job, known = self.new([], None, 0)
        self.conn.transact([{**job, ":job/status": status}])
        known.status, known.is_held = status, False
        self.model.jobs[id] = known

    @precondition(lambda self: self.model.jobs)
    @rule(which=WHICH, type=st.sampled_from([":work", ":other"]), form=st.sampled_from(["job", "once", "unique"]))
    def assert_again(self, which, type, form):
        """A known job is left as it is, whatever its status: only `once` may name it at all."""
        id = self.one_of(which, [], list(self.model.jobs))
        job = job_txn(type, {":job/priority": 9}, id=id)
        if form == "once":
            self.conn.transact([once(job)])
            return
        with pytest.raises(TransactError) as error:
            self.conn.transact([job if form == "job" else unique("a key of its own", job)])
        assert ":db.error/already-inserted" == error.value.code

    # -- attempts

    @precondition(lambda self: self.model.jobs)
    @rule(wanted=st.lists(WHICH, min_size=1, max_size=4), worker=WORKERS, fault=FAULT)
    def claim(self, wanted, worker, fault):
        """Any job may be asked for, ready or not so, running or ended."""
        self.tick()
        wanted = dict.fromkeys(map(self.free, wanted))
        free = [id for id in wanted if all(self.model.jobs[dep].status == FINISHED for dep in self.model.jobs[id].deps)]
        eids = [self.eid(id) for id in free]
        made = self.move(worker, fault, lambda store: store.claim(eids, lease=LASTS), free, Reference.claim)
        if made is None:
            return  # what was claimed is held by nobody who knows of it
        claimed, won = made
        assert won == [job.id for job in claimed]
        assert [self.model.jobs[id].attempt for id in won] == [job.attempt for job in claimed]
        for job in claimed:
            left = {dep: self.model.jobs[dep].result for dep in self.model.jobs[job.id].deps}
            assert {dep: result for dep, result in left.items() if result is not None} == job.results
        self.leases += [job.lease for job in claimed]

    @precondition(lambda self: self.leases)
    @rule(which=WHICH, worker=WORKERS, fault=FAULT)
    def beat(self, which, worker, fault):
        lease = self.lease(which)
        beat = lambda model, lease: model.beat(lease.id, lease.attempt)  # noqa: E731
        made = self.move(worker, fault, lambda store: store.beat([lease], lease=LASTS), [lease], beat)
        if made is not None:
            lost, won = made
            assert [lease] == [*lost, *won]
        elif self.model.holds(lease.id, lease.attempt):  # the expiry shows in no status: take it over
            until = next(self.conn.db().datoms("eavt", lease.job, ":job/lease-expires")).v
            self.model.jobs[lease.id].expires = until.timestamp()

    @precondition(lambda self: self.leases)
    @rule(
        ending=st.lists(st.tuples(WHICH, st.sampled_from(ENDS), st.booleans(), st.booleans()), min_size=1, max_size=3),
        worker=WORKERS,
        fault=FAULT,
    )
    def end(self, ending, worker, fault):
        """Several at once, old leases and new ones mixed; facts and results come with success only."""
        told = [(self.lease(which), to, with_effect and to == FINISHED, more) for which, to, with_effect, more in ending]
        # Plain ends commit first, in one transaction; the rest one after the other.
        ending = sorted({end[0]: end for end in told}.values(), key=lambda end: not (end[1] == FINISHED and not end[2]))
        outcomes = [(end[0], self.outcome(end)) for end in ending]
        made = self.move(worker, fault, lambda store: store.settle(outcomes), ending, self.settle)
        if made is not None:
            rejected, won = made
            assert all(isinstance(error, LeaseLost) for _, error in rejected)
            assert {end[0] for end in ending} - {end[0] for end in won} == {lease for lease, _ in rejected}

    def outcome(self, end):
        lease, to, effect, more = end
        if to == UNSTARTED and more:
            return Outcome(to, reason=Reason.SNOOZE, run_at=self.conn.now() + timedelta(seconds=60))
        facts = [{":effect/of": f"{lease.id} {lease.attempt}"}] if effect else ()
        return Outcome(to, facts=facts, result=f'"{lease.id} {lease.attempt}"' if to == FINISHED and more else None)

    @staticmethod
    def settle(model, end):
        lease, to, effect, more = end
        told = f"{lease.id} {lease.attempt}"
        return model.settle(
            lease.id,
            lease.attempt,
            to,
            effect=told if effect else None,
            result=told if to == FINISHED and more else None,
            pause=60.0 if to == UNSTARTED and more else None,
        )

    @precondition(lambda self: self.leases)
    @rule(which=WHICH, worker=WORKERS)
    def end_while_an_operator_aborts(self, which, worker):
        """The abort comes in between the look and the write."""
        self.tick()
        lease = self.lease(which)
        move = lambda store: store.settle([(lease, Outcome(FINISHED, facts=[{":effect/of": f"{lease.id} {lease.attempt}"}]))])  # noqa: E731
        held = self.model.holds(lease.id, lease.attempt)
        rejected, _ = self.workers[worker].run(move, None, before=lambda: self.operator.abort(lease.id, "just now"))
        if held:
            self.model.abort(lease.id)
        assert [lease] == [lost for lost, _ in rejected]

    @precondition(lambda self: self.model.jobs)
    @rule(which=WHICH, worker=WORKERS, other=st.integers(1, 2))
    def two_claim_at_once(self, which, worker, other):
        """From the same database; the other one is quicker."""
        self.tick()
        id, rival = self.free(which), self.workers[(worker + other) % 3].store
        if any(self.model.jobs[dep].status != FINISHED for dep in self.model.jobs[id].deps):
            return
        eid, quicker = self.eid(id), []
        before = lambda: quicker.extend(rival.claim([eid], lease=LASTS))  # noqa: E731
        claimed, _ = self.workers[worker].run(lambda store: store.claim([eid], lease=LASTS), None, before=before)
        assert self.model.claim(id) == (1 == len([*claimed, *quicker]))
        self.leases += [job.lease for job in (*claimed, *quicker)]

    @precondition(lambda self: self.leases)
    @rule(which=WHICH, worker=WORKERS, other=st.integers(1, 2))
    def rescue_while_its_worker_wakes_and_beats(self, which, worker, other):
        """Between the look and the rescue, which saw an older lease than there is."""
        self.clock.advance(31)
        self.tick()
        lease, beats = self.lease(which), self.workers[(worker + other) % 3].store
        dead = sorted(self.model.dead(), key=self.eid)
        seen, alone = expired(self.conn.db(), self.conn.now()), self.alone()
        beats.beat([lease], lease=LASTS)
        self.model.beat(lease.id, lease.attempt)
        rescued, _ = self.workers[worker].run(lambda store: store.rescue(seen, max_crashes=MAX_CRASHES), None)
        assert sorted(id for id in dead if self.model.rescue(id, alone=id in alone)) == sorted(taken.id for taken, _ in rescued)

    @precondition(lambda self: self.leases)
    @rule(which=WHICH, worker=WORKERS)
    def one_is_overtaken(self, which, worker):
        """Its job goes to another worker before it has ended, which makes it a zombie."""
        self.tick()
        lease, store = self.lease(which), self.workers[worker].store
        assert self.model.settle(lease.id, lease.attempt, UNSTARTED) == (not store.settle([(lease, Outcome(UNSTARTED))]))
        if lease.id in self.model.ready():
            claimed = store.claim([lease.job], lease=LASTS)
            assert self.model.claim(lease.id) == bool(claimed)
            self.leases += [job.lease for job in claimed]

    # -- time, and others

    @rule(seconds=st.sampled_from([1, 29, 31, 100, 4000, -1, -31, -4000]))
    def the_clock_jumps(self, seconds):
        self.clock.advance(seconds)

    @rule(worker=WORKERS, fault=FAULT, later=st.sampled_from([0, 29, 31]))
    def rescue(self, worker, fault, later):
        self.clock.advance(later)
        self.tick()
        dead = sorted(self.model.dead(), key=self.eid)
        alone = self.alone()
        rescue = lambda model, id: model.rescue(id, alone=id in alone)  # noqa: E731
        made = self.move(worker, fault, lambda store: store.rescue(max_crashes=MAX_CRASHES), dead, rescue)
        if made is not None:
            rescued, won = made
            assert sorted(won) == sorted(lease.id for lease, _ in rescued)

    @precondition(lambda self: self.model.jobs)
    @rule(which=WHICH, worker=WORKERS, fault=FAULT)
    def operator_aborts(self, which, worker, fault):
        id = self.one_of(which, [], list(self.model.jobs))
        made = self.move(worker, fault, lambda store: store.abort(id, "by hand"), [id], Reference.abort)
        assert made is None or made[0] == bool(made[1])

    @precondition(lambda self: self.model.jobs)
    @rule(which=WHICH, worker=WORKERS, fault=FAULT)
    def operator_retries(self, which, worker, fault):
        lost = [id for id, job in self.model.jobs.items() if job.status in (FAILED, ABORTED) or not job.is_held]
        id, expected = self.one_of(which, lost, list(self.model.jobs)), []

        def retry(store):
            try:
                return store.retry(id)
            except TransactError as error:
                return error.code

        def apply(model, id):
            expected.append(model.retry(id))
            return expected[-1]

        made = self.move(worker, fault, retry, [id], apply)
        assert made is None or made[0] == expected[0]

    @rule(name=st.sampled_from(QUEUES), limit=st.integers(1, 2), paused=st.sampled_from([False, False, True]))
    def a_queue_is_set(self, name, limit, paused):
        self.conn.transact([queue(name, limit=limit, paused=paused)])
        self.model.limits[f":{name}"] = limit
        (self.model.paused.add if paused else self.model.paused.discard)(f":{name}")

    @rule()
    def give_up_the_doomed(self):
        """Jobs brought back below a parent that failed as well."""
        self.absorb()
        self.operator.give_up(sorted(self.ready.take_doomed()))
        self.model.give_up_the_doomed()

    def absorb(self):
        self.conn.db()
        while (report := self.reports.get(0.0)) is not None:
            self.ready.absorb(report.db_after, report.tx_data)

    # -- laws

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
        self.tick()
        now, db = self.conn.now(), self.conn.db()
        assert self.model.ready() == self.picked(None)
        assert self.model.ready() == status.jobs_ready(db, at=now)

    @invariant()
    def a_worker_picks_as_many_as_the_queues_let_start_and_the_most_urgent(self):
        if not hasattr(self, "conn"):
            return
        self.absorb()
        self.tick()
        picked, ready = self.picked(allowance(self.conn.db(), self.conn.now())), self.model.ready()
        trial = deepcopy(self.model)
        assert all(trial.claim(id) for id in picked)
        left = [id for id in ready - picked if trial.admits(id)]
        assert [] == left
        by_queue = {id: self.model.jobs[id] for id in ready}
        for id in ready - picked:
            same = [job.priority for other, job in by_queue.items() if other in picked and job.queue == by_queue[id].queue]
            assert not same or min(same) >= by_queue[id].priority

    def picked(self, allowed):
        picked = self.ready.pick(1000, now=self.conn.now(), random=Random(0), allowed=allowed)
        db = self.conn.db()
        for job in picked:
            self.ready.look(db, job)
        return {datom.v for job in picked for datom in db.datoms("eavt", job, ":job/id")}

    @invariant()
    def of_every_attempt_at_most_one_result_is_recorded(self):
        if not hasattr(self, "conn"):
            return
        db = self.conn.db()
        effects = sorted(factstore.q("[:find [?e ...] :with ?x :where [?x :effect/of ?e]]", db))
        assert sorted(effect for job in self.model.jobs.values() for effect in job.effects) == effects
        moves = factstore.q("[:find ?old ?new ?j ?tx :where [?j :job/status ?old ?tx false] [?j :job/status ?new ?tx true]]", db.history())
        assert [] == [(old, new) for old, new, _, _ in moves if old in MOVES and new not in MOVES[old]]

    @invariant()
    def a_unique_key_has_one_live_job(self):
        if not hasattr(self, "conn"):
            return
        live = [key for job in self.model.jobs.values() if job.status in LIVE for key in job.keys]
        assert len(set(live)) == len(live)
        held = factstore.q("[:find ?key ?id :where [?k :unique/key ?key] [?k :unique/job ?j] [?j :job/id ?id]]", self.conn.db())
        assert set(self.model.keys.items()) == held


TestLifecycle = pytest.mark.slow(Lifecycle.TestCase)
# Many rules wait for a lease that there is none of yet; that is the machine's nature, not a mistake in it.
TestLifecycle.settings = settings(
    stateful_step_count=40, max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
