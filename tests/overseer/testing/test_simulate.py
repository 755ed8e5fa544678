"""A simulation: it is repeatable, changes nothing, runs the real rules, and says what is wrong with what it is given."""

from __future__ import annotations

import gc
import signal
import threading
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Keyword
from overseer import Config, OverseerError, Retry, graph_txns, job_txn, queue, snooze
from overseer.handler import check_handlers
from overseer.jobs.states import MOVES
from overseer.testing import Violation, drain, replay, schedules, simulate
from overseer.testing.simulating import _scenario
from overseer.testing.simulation import memory
from overseer.testing.simulation.explore import Explorer, few_collections, quiet
from overseer.testing.simulation.invariants import invariants_of
from overseer.testing.simulation.memory import Memory
from overseer.testing.simulation.relay import Threads
from overseer.testing.simulation.schedule import ACTIONS, Intervention, read_schedule, write_schedule
from overseer.testing.simulation.story import text_of
from tests.overseer.testing.shop import ANN, balance, shop

GRAPH = {":a": [], ":b": [":a"], ":c": [":a"], ":d": [":b", ":c"]}


def nothing(job):
    return None


def broken_moves(db):
    """Return the moves of a status along no edge of MOVES, and the jobs with two results of one attempt."""
    moves = factstore.q("[:find ?old ?new ?j ?tx :where [?j :job/status ?old ?tx false] [?j :job/status ?new ?tx true]]", db.history())
    return [(old, new) for old, new, _, _ in moves if new not in MOVES[old]]


def only_known_moves(db):
    assert [] == broken_moves(db)


@settings(max_examples=30, deadline=None)
@given(schedules(), st.integers(1, 3))
def test_a_run_is_determined_by_its_schedule_and_changes_nothing(schedule, workers):
    """Whatever happens, a status moves only along the table, and a diamond of jobs ends."""
    conn = shop(*graph_txns(GRAPH))
    before = conn.db().basis_t
    ran = []
    handlers = {type: lambda job: ran.append((job.type, job.attempt)) for type in GRAPH}
    logs = []
    for _ in range(2):
        ran.clear()
        simulate(conn, handlers, schedule=schedule, workers=workers, invariants=[only_known_moves])
        logs.append(list(ran))
    assert logs[0] == logs[1]
    assert before == conn.db().basis_t


@given(st.lists(st.builds(Intervention, st.integers(0, 999), st.sampled_from(ACTIONS))).map(sorted).map(tuple))
def test_a_schedule_can_be_written_and_read(schedule):
    assert schedule == read_schedule(write_schedule(schedule))


@pytest.mark.parametrize("text", ["crash", "3", "3 jump", "3 crash 4 crash", "-1 crash", "3 crash,"])
def test_a_bad_schedule_is_rejected(text):
    with pytest.raises(OverseerError) as error:
        simulate(shop(), {":a": nothing}, schedule=text)
    assert ":job.error/bad-argument" == error.value.code


def test_a_bad_invariant_is_rejected():
    with pytest.raises(OverseerError, match="an invariant is"):
        simulate(shop(), {":a": nothing}, invariants=[7])


def dividing(db):
    return 1 / 0


@pytest.mark.parametrize(
    ("invariant", "error"),
    [
        ("[:find ?a", factstore.FactStoreError),
        ("[:find ?a :where [?a :no/such 1]]", factstore.FactStoreError),
        (dividing, ZeroDivisionError),
    ],
)
def test_an_error_of_an_invariant_ends_the_simulation(invariant, error):
    with pytest.raises(error) as raised:
        simulate(shop(job_txn(":a")), {":a": nothing}, invariants=[invariant])
    assert not isinstance(raised.value, Violation)


def test_an_invariant_may_be_a_query_that_finds_what_must_not_be():
    poor = "[:find ?id :where [?a :account/balance ?b] [(< ?b 10)] [?a :account/id ?id]]"
    with pytest.raises(Violation, match=r"found {\('ann',\)}"):
        simulate(shop(job_txn(":a")), {":a": lambda job: [[":db/add", ANN, ":account/balance", 9]]}, invariants=[poor])


def test_an_invariant_that_holds_only_before_and_after_a_job_is_broken_in_the_middle():
    def borrow(job):
        job.transact([[":db/add", ANN, ":account/balance", -1]])
        return [[":db/add", ANN, ":account/balance", 10]]

    with pytest.raises(Violation) as caught:
        simulate(shop(job_txn(":a")), {":a": borrow}, invariants=[lambda db: balance(db) >= 0])
    assert () == caught.value.run.schedule
    assert -1 == balance(caught.value.run.db)


def test_a_job_that_never_ends_is_a_failure_unless_that_is_expected():
    jobs = [queue("closed", paused=True), job_txn(":a", id="j", queue="closed")]
    with pytest.raises(Violation, match="jobs have not ended: j is unstarted"):
        simulate(shop(*jobs), {":a": nothing})
    assert 1 == simulate(shop(*jobs), {":a": nothing}, all_end=False).runs


def test_a_handler_that_runs_again_and_again_is_a_failure():
    with pytest.raises(Violation, match="did not end within"):
        simulate(shop(job_txn(":a")), {":a": lambda job: snooze(1)})


def test_retries_wait_in_virtual_time():
    times = []

    def fail(job):
        times.append(job.conn.now())
        raise ValueError("no")

    handlers = {":a": {"process": fail, "retry": Retry(max_attempts=3, backoff=lambda n: 3600.0, jitter=0)}}
    simulate(shop(job_txn(":a")), handlers, schedule="")
    assert [3600, 3600] == [round((b - a).total_seconds()) for a, b in pairwise(times)]


def test_a_worker_that_stalls_comes_back_and_cannot_write():
    """It returns after another worker has finished its job; its own commit then fails."""
    wrote = []

    def draw(job):
        job.transact([[":db/add", ANN, ":account/balance", job.attempt]])
        wrote.append(job.attempt)

    simulate(shop(job_txn(":a")), {":a": draw}, schedule="2 stall")
    assert [2] == wrote


def test_a_failure_that_needs_several_events_is_shrunk():
    """Pairs are too many to try them all, so it is found at random, and what does not matter is left out."""
    conn = shop(*graph_txns({f":t{n}": [f":t{n - 1}"] if n else [] for n in range(5)}))
    handlers = {f":t{n}": nothing for n in range(5)}
    crashes = "[:find ?n :where [?j :job/type :t4] [?j :job/crashes ?n] [(< 1 ?n)]]"
    with pytest.raises(Violation) as caught:
        simulate(conn, handlers, invariants=[crashes], schedules=300, workers=1)
    schedule = caught.value.run.schedule
    assert 2 <= len(schedule) <= 5
    for n in range(len(schedule)):
        simulate(conn, handlers, invariants=[crashes], schedule=(*schedule[:n], *schedule[n + 1 :]), workers=1)


def test_a_clock_that_jumps_takes_no_job_from_a_worker():
    attempts = []
    handlers = {":a": lambda job: attempts.append(job.attempt)}
    for jump in ("forward", "back"):
        simulate(shop(job_txn(":a")), handlers, schedule=f"1 {jump}")
    assert [1, 1] == attempts


def test_the_picture_shows_each_process_and_event(tmp_path):
    def once(db):
        return len(ran) <= 1

    ran = []
    with pytest.raises(Violation) as caught:
        simulate(
            shop(job_txn(":a", id="<j>")),
            {":a": lambda job: ran.append(1)},
            invariants=[once],
            before_each=ran.clear,
            picture=tmp_path / "p.svg",
        )
    svg = (tmp_path / "p.svg").read_text()
    assert svg == caught.value.picture
    assert "&lt;j&gt;" in svg
    assert all(name in svg for name in (">w1<", ">w3<", "crashes", "once does not hold"))


def test_an_async_handler_with_stages_runs_too():
    ran = []

    async def work(job):
        ran.append(job.type)

    simulate(shop(job_txn(":a")), {":a": {"pre_process": nothing, "process": work}}, schedule="1 crash")
    assert [Keyword(":a")] == ran


def test_a_short_lease_is_rescued_sooner():
    times = []
    conn = shop(job_txn(":a"))
    for lease in (timedelta(seconds=3), timedelta(seconds=300)):
        config = {"heartbeat_sleep_time": lease.total_seconds() * 100, "heartbeat_tolerance": 10}
        started = []
        simulate(conn, {":a": lambda job, started=started: started.append(job.conn.now())}, config=config, schedule="2 crash")
        times.append(round((started[1] - started[0]).total_seconds()))
    assert [3, 300] == times


def test_a_simulation_tries_each_schedule_once_as_far_as_it_goes_in_order():
    tried = simulate(shop(*graph_txns(GRAPH)), dict.fromkeys(GRAPH, nothing), schedules=300)
    assert (1, 300) == (tried.by_length[0], tried.runs)
    assert max(tried.by_length) > 2, "the last part has more interventions, at random"


def test_a_run_leaves_no_cycles():
    """Only the collector of garbage would free them, which takes longer than the runs."""
    conn = shop(*graph_txns({":a": [], ":b": [":a"]}))
    handlers = {":a": nothing, ":b": lambda job: job.transact([[":db/add", ANN, ":account/balance", 1]])}
    interventions = ["", "1 switch", "2 crash", "2 lose", "2 stall", "3 crash after", "2 switch, 4 switch", "1 back"]
    with few_collections(), Threads() as threads, quiet():
        scenario = _scenario(conn, check_handlers(handlers), Config(), [])
        explorer = Explorer(scenario, threads)
        explorer.run(())
        gc.collect()
        gc.freeze()  # what other tests left
        for schedule in interventions:
            explorer.run(read_schedule(schedule))
        assert 0 == gc.collect()


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_simulation_leaves_objects_frozen_if_and_only_if_the_caller_froze_some(is_frozen):
    gc.freeze() if is_frozen else gc.unfreeze()
    try:
        with few_collections():
            assert gc.get_freeze_count() > 0 and not gc.isenabled()
        assert gc.isenabled() and is_frozen == (gc.get_freeze_count() > 0)
    finally:
        gc.unfreeze()


def test_an_interrupt_ends_a_simulation_wherever_it_is():
    """The first worker has stopped on the thread of the test when the handler of the second one runs on another."""

    def interrupt(job):
        if threading.current_thread() is not threading.main_thread():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            interrupted.wait(60)

    interrupted = threading.Event()
    before = set(threading.enumerate())
    previous = signal.signal(signal.SIGINT, lambda number, frame: (interrupted.set(), signal.default_int_handler(number, frame)))
    try:
        with pytest.raises(KeyboardInterrupt):
            simulate(shop(job_txn(":a"), job_txn(":a")), {":a": interrupt}, schedule="1 switch")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert interrupted.is_set()
    assert before == set(threading.enumerate())


@pytest.mark.parametrize(
    "odd", [{"schedule": 5}, {"schedule": [1]}, {"invariants": 5}, {"before_each": 5}, {"picture": 5}, {"picture": "/nowhere/at/all.svg"}]
)
def test_a_simulation_with_an_odd_argument_is_rejected(odd):
    with pytest.raises(OverseerError) as raised:
        simulate(shop(), {":a": nothing}, **odd)
    assert ":job.error/bad-argument" == raised.value.code


@pytest.mark.parametrize("number", [0, -1, 1.5, "2", True, None])
@pytest.mark.parametrize("name", ["schedules", "workers", "processes"])
def test_a_simulation_with_a_number_that_is_not_from_1_on_is_rejected(name, number):
    with pytest.raises(OverseerError, match=f"{name} of a simulation is a whole number from 1 on"):
        simulate(shop(), {}, **{name: number})


@pytest.mark.parametrize("run", [simulate, drain, lambda conn, handlers: replay(conn, as_of=conn.db().basis_t, app=handlers)])
def test_ctrl_c_within_a_handler_is_no_failure_of_the_job(run):
    """By the signal handler that Python has by default."""
    calls = []

    def interrupted(job):
        calls.append(job.id)
        signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(shop(job_txn(":a"), job_txn(":a")), {":a": interrupted})
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, previous)
    assert 1 == len(calls)


def story(scenario, schedule, threads):
    """Run a schedule, and return what happened, and all facts that were committed."""
    run = Explorer(scenario, threads).run(schedule)
    return text_of(run), set(run.db.since(run.base.basis_t).history().datoms("eavt")), run.steps


@settings(max_examples=20, deadline=None)
@given(st.lists(schedules(), min_size=2, max_size=6), st.integers(1, 3), st.integers(1, 9))
def test_runs_that_share_what_they_read_and_commit_are_the_same_as_others(chosen, workers, most):
    """Also if the memory is full after every few reports, and if transaction data cannot be pickled."""

    def draw(job):
        left = balance(job.db)
        cannot_be_pickled = [[":db/require", lambda db: balance(db) < left]] if job.id == "b" else []
        job.transact([[":db/cas", ANN, ":account/balance", left, left - 1], *cannot_be_pickled])
        return [{":payment/of": f"{job.id} {job.attempt}"}]

    conn = shop(job_txn(":draw", id="a"), job_txn(":draw", id="b"), job_txn(":draw", id="c", queue="q"), queue("q", limit=1))
    by_type = check_handlers({":draw": {"process": draw, "retry": Retry(max_attempts=3)}})
    with Threads() as threads, quiet(), patch.object(memory, "_MOST", most):
        low = invariants_of("[:find ?b :where [_ :account/balance ?b] [(< ?b 8)]]")
        shared = replace(_scenario(conn, by_type, Config(), low), workers=workers)
        for schedule in chosen:
            alone = replace(shared, memory=Memory())
            assert story(alone, schedule, threads) == story(shared, schedule, threads)
