"""How other job systems failed, and what holds here; `docs/explanation/failures.md` says which test is about which failure."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import TransactError
from factstore.connection.connection import Connection
from factstore.storage.memory import MemoryStorage
from overseer import Config, JobStore, LeaseLost, Worker, install, job_txn, status
from overseer.events import Listeners
from overseer.handler import MAX_MESSAGE, failure_info
from overseer.jobs.states import ABORTED, CRASHES, FAILED, FINISHED, STARTED, UNSTARTED, Outcome
from overseer.jobs.store import settlements
from overseer.testing import FakeClock, drain
from overseer.worker import worker_name
from overseer.worker.monitor import Monitor
from overseer.worker.ready import ReadySet
from tests.overseer import remote_handlers as remote

ROOT = Path(__file__).resolve().parents[3]
LEASE = timedelta(seconds=30)


def eid(conn, id):
    return conn.db().entid([":job/id", id])


def counts(conn):
    return {key: n for key, n in status.counts(conn.db()).items() if n}


def value(conn, id, attribute):
    return next((datom.v for datom in conn.db().datoms("eavt", eid(conn, id), attribute)), None)


def claimed(conn, *ids, worker="w"):
    return JobStore(conn, worker=worker).claim([eid(conn, id) for id in ids], lease=LEASE)


def nothing(job):
    return None


# -- attempts that overtake each other


def test_an_older_attempt_cannot_bring_back_a_job_that_a_newer_one_has_given_up(conn):
    """Its retry came in after the third attempt had discarded the job, and resurrected it."""
    conn.transact([job_txn(":a", id="j")])
    store = JobStore(conn, worker="w")
    [older] = claimed(conn, "j")
    store.release([older.lease])
    [newer] = claimed(conn, "j")
    store.settle([(newer.lease, Outcome(FAILED))])
    [(_, error)] = store.settle([(older.lease, Outcome(UNSTARTED))])
    assert isinstance(error, LeaseLost) is True
    assert FAILED == value(conn, "j", ":job/status")


def test_many_workers_that_claim_the_same_jobs_from_connections_of_their_own_start_each_attempt_once(tmp_path):
    path, claims, turn = str(tmp_path / "jobs.facts"), Counter(), threading.Lock()
    with factstore.connect(path, sync="none") as conn:
        install(conn)
        conn.transact([job_txn(":a") for _ in range(40)])
        jobs = [datom.e for datom in conn.db().datoms("avet", ":job/status", UNSTARTED)]
        workers = [factstore.connect(path, sync="none") for _ in range(4)]

        def claim(n, own):
            random, store = Random(n), JobStore(own, worker=f"w{n}")
            for _ in range(30):
                for job in store.claim(random.sample(jobs, 5), lease=LEASE):
                    with turn:
                        claims[job.id, job.attempt] += 1
                    if random.random() < 0.5:
                        store.release([job.lease])

        threads = [threading.Thread(target=claim, args=(n, own)) for n, own in enumerate(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for own in workers:
            own.close()
    assert {1} == set(claims.values())
    assert len(claims) > 40


def test_a_beat_that_comes_between_the_look_and_the_write_of_a_finish_does_not_make_it_fail(conn, monkeypatch):
    """A heartbeat that raised a version number made its own worker's finish fail, and the worker exit."""
    conn.transact([job_txn(":a", id="j")])
    store = JobStore(conn, worker="w")
    [job] = claimed(conn, "j")
    build = settlements.forms_of
    monkeypatch.setattr(settlements, "forms_of", lambda *args: [store.beat([job.lease], lease=LEASE), build(*args)][1])
    assert [] == store.settle([(job.lease, Outcome(FINISHED, facts=[{":order/number": "1"}]))])


# -- jobs that nobody runs, and jobs that two run


def test_no_two_workers_ever_have_the_same_name_even_of_one_process():
    assert 100 == len({worker_name() for _ in range(100)})


def test_however_many_workers_died_at_once_one_look_takes_all_their_jobs(conn, clock):
    conn.transact([job_txn(":a", id=f"j{n}") for n in range(3000)])
    claimed(conn, *(f"j{n}" for n in range(3000)))
    clock.advance(31)
    assert 3000 == len(JobStore(conn, worker="rescuer").rescue(max_crashes=3))
    assert {UNSTARTED: 3000} == counts(conn)


def test_a_lease_that_ends_this_very_instant_is_not_taken(conn, clock):
    """Comparing with less-or-equal let a system adopt the job that it had just started itself."""
    conn.transact([job_txn(":a", id="j")])
    claimed(conn, "j")
    clock.advance(30)
    assert [] == JobStore(conn, worker="rescuer").rescue(max_crashes=3)
    clock.advance(0.001)
    assert 1 == len(JobStore(conn, worker="rescuer").rescue(max_crashes=3))


def test_two_jobs_that_are_taken_together_for_the_last_time_take_their_common_child_down_once(conn, clock):
    conn.transact([job_txn(":a", id="a"), job_txn(":a", id="b")])
    conn.transact([job_txn(":c", {":job/dep": [eid(conn, "a"), eid(conn, "b")]}, id="both")])
    conn.transact([job_txn(":c", {":job/dep": [eid(conn, "a"), eid(conn, "b")], ":job/rule": ":job.rule/any"}, id="either")])
    claimed(conn, "a", worker="one")
    claimed(conn, "b", worker="two")
    clock.advance(31)
    assert [FAILED, FAILED] == [became for _, became in JobStore(conn, worker="rescuer").rescue(max_crashes=1)]
    assert {FAILED: 2, ABORTED: 2} == counts(conn)


def test_a_handler_that_never_lets_go_of_its_interpreter_keeps_its_lease_where_it_has_a_process(tmp_path):
    with factstore.connect(str(tmp_path / "jobs.facts"), sync="none") as conn:
        install(conn)
        conn.transact([job_txn(":hog", id="j")])
        config = Config(executor="processes", heartbeat_sleep_time=150)
        Worker(conn, {":hog": remote.hold_the_interpreter}, config).run(until_idle=True)
        assert FINISHED == value(conn, "j", ":job/status")
        assert 1 == value(conn, "j", ":job/attempt")


def monitor(conn, **settings):
    return Monitor(JobStore(conn, worker="other"), max_crashes=3, random=Random(0), listeners=Listeners(), **settings)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_jump_of_the_clock_takes_no_job_from_a_worker_that_lives_and_keeps_none_from_being_taken(hours):
    clock, lease = FakeClock(), timedelta(seconds=0.4)
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        conn.transact([job_txn(":a", id="alive"), job_txn(":a", id="dead")])
        alive, _ = JobStore(conn, worker="w").claim([eid(conn, "alive"), eid(conn, "dead")], lease=lease)
        looks = monitor(conn, lease=0.4)
        clock.advance(hours * 3600)
        assert 0 == looks.look()
        until_ripe = time.monotonic() + 10
        while not (taken := looks.look()):
            assert [] == JobStore(conn, worker="w").beat([alive.lease], lease=lease)
            assert time.monotonic() < until_ripe
            threading.Event().wait(0.01)
        assert 1 == taken
        assert STARTED == value(conn, "alive", ":job/status")
        assert UNSTARTED == value(conn, "dead", ":job/status")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_worker_whose_clock_is_an_hour_off_takes_no_job_from_one_that_beats(hours):
    slow, fast = FakeClock(), FakeClock(FakeClock().now + timedelta(hours=hours))
    name = f"skew{hours}"
    ours, theirs = Connection(MemoryStorage(name), clock=slow), Connection(MemoryStorage(name), clock=fast)
    lease = timedelta(seconds=0.2)
    try:
        install(ours)
        ours.transact([job_txn(":a", id="j")])
        store = JobStore(ours, worker="w")
        [job] = store.claim([eid(ours, "j")], lease=lease)
        looks = monitor(theirs, lease=0.2)
        for _ in range(40):
            theirs.transact([[":db/add", "datomic.tx", ":db/doc", "others go on"]])
            assert [] == store.beat([job.lease], lease=lease)
            assert 0 == looks.look()
            threading.Event().wait(0.01)
        assert STARTED == value(ours, "j", ":job/status")
    finally:
        ours.close()
        theirs.close()


def test_jobs_claimed_ahead_of_a_worker_that_dies_are_taken_like_the_one_that_ran(conn, clock):
    conn.transact([job_txn(":a", id=f"j{n}") for n in range(5)])
    claimed(conn, *(f"j{n}" for n in range(5)), worker="dies")
    clock.advance(31)
    JobStore(conn, worker="rescuer").rescue(max_crashes=3)
    assert 5 == drain(conn, {":a": nothing})
    assert {FINISHED: 5} == counts(conn)


def test_a_job_that_took_its_worker_with_it_comes_back_later_each_time(conn, clock):
    """And not at the head of the queue, before all that might run."""
    conn.transact([job_txn(":a", id="j")])
    pauses = []
    for crashes in range(1, 5):
        clock.advance(100)
        claimed(conn, "j")
        clock.advance(31)
        JobStore(conn, worker="rescuer").rescue(max_crashes=10)
        assert crashes == value(conn, "j", CRASHES)
        pauses.append((value(conn, "j", ":job/run-at") - clock()).total_seconds())
    assert [0.0, 1.0, 2.0, 4.0] == pauses


# -- graphs


def test_what_waits_for_fifty_that_end_at_once_on_several_workers_runs_once(conn):
    ran = []
    conn.transact([job_txn(":part", id=f"p{n}") for n in range(50)])
    conn.transact([{**job_txn(":join", id="join"), ":job/dep": [eid(conn, f"p{n}") for n in range(50)]}])
    handlers = {":part": nothing, ":join": lambda job: ran.append(job.id)}
    workers = [Worker(conn, handlers, Config(seed=n, concurrency=3, batch=8)) for n in range(3)]
    threads = [threading.Thread(target=worker.run, kwargs={"until_idle": True}) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ["join"] == ran
    assert {FINISHED: 51} == counts(conn)


@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_what_waits_for_a_job_waits_for_all_that_it_added_while_it_ran_however_deep(depth, width, seed):
    """Each handler adds jobs below itself and lets the last job wait for them, before it has ended itself."""
    order = []
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([[":db/add", "attribute", ":db/ident", ":org/depth"], [":db/add", "attribute", ":db/valueType", ":db.type/long"],
                       [":db/add", "attribute", ":db/cardinality", ":db.cardinality/one"]])  # fmt: skip
        conn.transact([job_txn(":grow", {":org/depth": depth}, id="root")])
        conn.transact([{**job_txn(":last", id="last"), ":job/dep": eid(conn, "root")}])

        def grow(job):
            order.append(job.id)
            left = job[":org/depth"] - 1
            children = [job_txn(":grow", {":org/depth": left}, id=f"{job.id}.{n}") for n in range(width)] if left else []
            waits = [{":db/id": [":job/id", "last"], ":job/dep": child[":db/id"]} for child in children]
            return [*({**child, ":job/dep": job.eid} for child in children), *waits]

        drain(conn, {":grow": grow, ":last": lambda job: order.append("last")}, seed=seed)
        assert "last" == order[-1]
        assert len(order) == 1 + sum(width**level for level in range(depth))


def test_a_dependency_on_a_job_that_is_not_there_is_refused(conn):
    before = conn.db().basis_t
    with pytest.raises(TransactError):
        conn.transact([{**job_txn(":a", id="j"), ":job/dep": [":job/id", "gone"]}])
    assert before == conn.db().basis_t


# -- queues that slow down, and workers that do nothing


def test_monitors_that_were_started_together_do_not_look_together(conn):
    store = JobStore(conn, worker="w")
    monitors = [Monitor(store, lease=30, max_crashes=3, random=Random(n), listeners=Listeners()) for n in range(20)]
    pauses = [monitor.pause() for monitor in monitors]
    assert 20 == len(set(pauses))
    assert all(3 < pause <= 7.5 for pause in pauses)


def test_a_worker_that_no_wake_up_reaches_finds_its_jobs_all_the_same(conn, monkeypatch):
    """To poll must suffice: somebody may commit of whom no message comes."""
    deaf = conn._storage.head
    monkeypatch.setattr(conn._storage, "wait", lambda after_t, timeout: threading.Event().wait(timeout) or deaf())
    done = threading.Event()
    worker = Worker(conn, {":a": lambda job: done.set()})
    running = threading.Thread(target=worker.run)
    running.start()
    conn.transact([job_txn(":a")])
    assert done.wait(10)
    worker.stop()
    running.join(10)


def test_what_a_claim_and_an_end_read_does_not_depend_on_how_many_jobs_have_ended(conn, monkeypatch):
    def reads(conn):
        conn.transact([job_txn(":a", id=f"new{conn.db().basis_t}")])
        db, ready, seen = conn.db(), ReadySet(), Counter()
        datoms = type(db).datoms

        def counting(self, *args, **words):
            for datom in datoms(self, *args, **words):
                seen["datoms"] += 1
                yield datom

        with monkeypatch.context() as patched, conn.tx_reports() as reports:
            patched.setattr(type(db), "datoms", counting)
            store = JobStore(conn, worker="w")
            [job] = store.claim([eid(conn, f"new{db.basis_t - 1}")], lease=LEASE)
            store.settle([(job.lease, Outcome(FINISHED, result="1"))])
            while (report := reports.get(0.0)) is not None:
                ready.absorb(report.db_after, report.tx_data)
        return seen["datoms"]

    few = reads(conn)
    conn.transact([job_txn(":a", {":job/status": FINISHED}) for _ in range(2000)])
    assert few == reads(conn)


def test_a_job_of_a_transaction_that_was_rejected_was_never_there(conn):
    done = []
    with pytest.raises(TransactError):
        conn.transact([job_txn(":a"), [":db/add", "order", ":no/such", 1]])
    drain(conn, {":a": lambda job: done.append(job.id)})
    assert [] == done
    assert {} == counts(conn)


# -- payloads


def test_a_result_that_cannot_be_read_fails_the_job_that_asks_for_it_and_no_other(conn):
    conn.transact([job_txn(":parent", {":job/status": FINISHED, ":job/result": "[1 2"}, id="parent")])
    conn.transact([{**job_txn(":child", id="child"), ":job/dep": eid(conn, "parent")}, job_txn(":other", id="other")])
    drain(conn, {":child": lambda job: job.results and None, ":other": nothing})
    assert FAILED == value(conn, "child", ":job/status")
    assert FINISHED == value(conn, "other", ":job/status")


def test_of_an_error_that_quotes_a_whole_document_the_beginning_is_kept():
    assert MAX_MESSAGE == len(failure_info(ValueError("x" * 10_000_000))[":message"])


def test_a_failure_that_somebody_wrote_as_plain_text_is_shown_as_it_is(conn):
    conn.transact([job_txn(":a", {":job/status": FAILED, ":job/failure": "{not edn"}, id="j")])
    assert "{not edn" in status.explain(conn.db(), "j").why


# -- a process that is killed takes its handlers with it


def test_the_processes_of_a_worker_that_was_killed_end_in_the_middle_of_their_calls(tmp_path):
    """Their jobs go to others, so whatever they came to would be refused; they would only take the machine's time."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, sys\n"
        "from overseer.worker.pools.processes import ProcessExecutor\n"
        "from tests.overseer import remote_handlers as remote\n"
        "if __name__ == '__main__':\n"
        "    executor = ProcessExecutor(1)\n"
        "    print(executor.submit(os.getpid).result(), flush=True)\n"
        "    executor.submit(remote.sleep, None)\n"
        "    sys.stdin.read(1)\n"
        "    os._exit(9)\n"
    )
    command = [sys.executable, str(script)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 10
    while _lives(child):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def _lives(pid):
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# -- the page


def test_every_failure_on_the_page_names_tests_that_exist():
    page = (ROOT / "docs/explanation/failures.md").read_text()
    rows = [line for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:def (test_\w+)|(Test\w+) =)", path.read_text(), re.M)
        for name in name
        if name
    }
    assert (23, 15) == tuple(len(re.findall(r"^\| \d+ \|", part, re.M)) for part in page.split("## Overseer's own"))
    assert [] == [row for row in rows if not re.findall(r"`(test_\w+|Test\w+)`", row)]
    assert set() == set(re.findall(r"`(test_\w+|Test\w+)`", page)) - there


# -- crashes that jobs have in common


def test_jobs_that_only_shared_a_worker_with_one_that_ends_it_are_not_failed_for_that(conn, clock):
    """Nobody knows which of them ended it; so those that have crashed too often run alone, and then it is known."""
    ids = ["poison", "innocent 1", "innocent 2"]
    conn.transact([job_txn(":a", id=id) for id in ids])
    for _ in range(3):
        clock.advance(100)
        claimed(conn, *ids)
        clock.advance(31)
        assert [UNSTARTED] * 3 == [became for _, became in JobStore(conn, worker="rescuer").rescue(max_crashes=3)]
    assert [3, 3, 3] == [value(conn, id, CRASHES) for id in ids]
    clock.advance(100)
    store = JobStore(conn, worker="w")
    jobs = [eid(conn, id) for id in ids]
    assert [] == store.claim(jobs, lease=LEASE, suspect_from=2, alone=False)
    [job] = store.claim(jobs, lease=LEASE, suspect_from=2)
    clock.advance(31)
    assert [(job.id, FAILED)] == [(lease.id, became) for lease, became in JobStore(conn, worker="rescuer").rescue(max_crashes=3)]


@pytest.mark.parametrize("settings", [{}, {"concurrency": 3}, {"batch": 8}, {"executor": "asyncio", "concurrency": 3}])
def test_a_worker_runs_a_job_that_may_be_ending_its_workers_beside_no_other(conn, settings):
    running, most = Counter(), Counter()
    conn.transact([job_txn(":suspect", {CRASHES: 2}, id=f"s{n}") for n in range(2)])
    conn.transact([job_txn(":other", id=f"o{n}") for n in range(12)])

    def handler(job):
        running[job.type.name] += 1
        most["suspect"] = max(most["suspect"], sum(running.values()) if running["suspect"] else 0)
        threading.Event().wait(0.01)
        running[job.type.name] -= 1

    Worker(conn, {":suspect": handler, ":other": handler}, Config(seed=1, **settings)).run(until_idle=True)
    assert {FINISHED: 14} == counts(conn)
    assert 1 == most["suspect"]
