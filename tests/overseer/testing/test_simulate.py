"""A simulation: it is repeatable, changes nothing, runs the real rules, and says what is wrong with what it is given."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Keyword
from overseer import OverseerError, Retry, graph_txns, job_txn, queue, snooze
from overseer.jobs.states import MOVES
from overseer.testing import Violation, schedules, simulate
from overseer.testing.simulation.schedule import ACTIONS, Intervention, read_schedule, write_schedule
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
    """Pairs are too many to try them all, so hypothesis finds it, and leaves out what does not matter."""
    conn = shop(*graph_txns({f":t{n}": [f":t{n - 1}"] if n else [] for n in range(5)}))
    handlers = {f":t{n}": nothing for n in range(5)}
    crashes = "[:find ?n :where [?j :job/type :t4] [?j :job/crashes ?n] [(< 1 ?n)]]"
    with pytest.raises(Violation) as caught:
        simulate(conn, handlers, invariants=[crashes], schedules=300, workers=1)
    assert 2 <= len(caught.value.run.schedule) <= 5


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


@pytest.mark.parametrize("numbers", [{"schedules": 0}, {"schedules": -1}, {"workers": 0}])
def test_a_simulation_without_schedules_or_workers_is_rejected(numbers):
    with pytest.raises(OverseerError, match="at least one worker"):
        simulate(shop(), {}, **numbers)
