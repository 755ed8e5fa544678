"""Planted bugs: the default settings find each, and state at most five interventions; without the bug, nothing is found."""

from __future__ import annotations

from collections import Counter

import pytest

from overseer import EffectRepeated, Retry, abort, job_txn, once, queue, status
from overseer.jobs.states import FINISHED
from overseer.testing import Violation, simulate
from tests.overseer.testing.shop import ANN, balance, finished, shop

MOST = 5  # interventions


def found(conn, handlers, **options):
    """Return the violation that a simulation finds, which its schedule repeats."""
    with pytest.raises(Violation) as first:
        simulate(conn, handlers, **options)
    with pytest.raises(Violation) as again:
        simulate(conn, handlers, schedule=first.value.schedule, **options)
    assert first.value.story == again.value.story
    assert len(first.value.run.schedule) <= MOST
    return first.value


# -- a handler that charges twice

charges = Counter()


def nobody_pays_twice(db):
    return all(count == 1 for count in charges.values())


def test_a_handler_that_charges_twice():
    violation = found(
        shop(job_txn(":pay", id="order-17")),
        {":pay": lambda job: charges.update([job.id])},
        invariants=[nobody_pays_twice],
        before_each=charges.clear,
    )
    assert "nobody_pays_twice does not hold" == violation.run.violation
    assert "crashes, before the result is committed" in violation.story
    assert 1 == len(violation.run.schedule)


def test_a_handler_that_declares_a_charge_and_charges_again():
    """The store keeps it from charging; the simulation says that the handler does not know what to do then."""

    def pay(job):
        job.effect(f"charge/{job.id}")
        charges.update([job.id])

    violation = found(shop(job_txn(":pay", id="order-17")), {":pay": pay}, before_each=charges.clear)
    assert ":pay order-17 came to the effect charge/order-17 a second time" == violation.run.violation


def pay_unless_paid(job):
    try:
        job.effect(f"charge/{job.id}")
    except EffectRepeated:
        if charges[job.id]:
            return
    charges.update([job.id])


def test_a_handler_that_asks_before_it_charges_again():
    """The worker that declared the charge may be slow instead of dead, and charge after the other one has asked."""
    conn = shop(job_txn(":pay", id="order-17"))
    violation = found(conn, {":pay": pay_unless_paid}, invariants=[nobody_pays_twice], before_each=charges.clear)
    assert "stalls, before the effect happens" in violation.story


def test_a_handler_that_leaves_a_doubtful_charge_to_people():
    def pay(job):
        try:
            job.effect(f"charge/{job.id}")
        except EffectRepeated as error:
            abort(error.message)
        charges.update([job.id])

    tried = simulate(
        shop(job_txn(":pay", id="order-17")), {":pay": pay}, invariants=[nobody_pays_twice], before_each=charges.clear, schedules=300
    )
    assert tried.runs == 300


def test_a_handler_that_charges_with_an_idempotency_key():
    paid = set()
    conn = shop(job_txn(":pay", id="order-17"))
    tried = simulate(
        conn, {":pay": lambda job: paid.add(job.key)}, invariants=[lambda db: len(paid) <= 1], before_each=paid.clear, schedules=300
    )
    assert tried.runs == 300


# -- a retry that forgets what the first attempt did


def draw(job):
    job.transact([[":db/add", ANN, ":account/balance", balance(job.conn.db()) - 1]])


def test_a_retry_that_forgets():
    violation = found(shop(job_txn(":draw", id="d")), {":draw": draw}, invariants=[lambda db: balance(db) >= 9])
    assert "9 → 8" in violation.story


def test_a_retry_that_remembers():
    def draw_once(job):
        if job.conn.db().entid([":payment/of", job.id]) is None:
            left = balance(job.conn.db())
            job.transact([{":payment/of": job.id}, [":db/cas", ANN, ":account/balance", left, left - 1]])

    draw_again = {"process": draw_once, "retry": Retry(max_attempts=10)}
    tried = simulate(shop(job_txn(":draw", id="d")), {":draw": draw_again}, invariants=[lambda db: balance(db) >= 9], schedules=500)
    assert tried.runs == 500


# -- a lost update in a handler's transaction


def each_job_drew(db):
    return balance(db) + finished(db) <= 10


def test_a_lost_update():
    jobs = [job_txn(":draw", id="a"), job_txn(":draw", id="b")]
    handlers = {":draw": lambda job: [[":db/add", ANN, ":account/balance", balance(job.db) - 1]]}
    violation = found(shop(*jobs), handlers, invariants=[each_job_drew])
    assert "pauses" in violation.story


def test_an_update_that_compares():
    jobs = [job_txn(":draw", id="a"), job_txn(":draw", id="b")]
    compare = {
        "process": lambda job: [[":db/cas", ANN, ":account/balance", balance(job.db), balance(job.db) - 1]],
        "retry": Retry(max_attempts=10),
    }
    tried = simulate(shop(*jobs), {":draw": compare}, invariants=[each_job_drew], schedules=400)
    assert tried.runs == 400


# -- a deadlock between two queues


def queues_and_jobs(inner):
    """Two jobs, each in one of two queues that run one job at a time, which wait for a job in another queue."""

    def outer(job):
        child = f"{job.id}-inner"
        job.transact([once(job_txn(":inner", id=child, queue=inner[job[":job/queue"].name]))])
        while child not in status.jobs_with_status(job.conn.db(), FINISHED):
            job.conn.wait(job.conn.db().basis_t)

    jobs = [
        queue("left", limit=1),
        queue("right", limit=1),
        job_txn(":outer", id="l", queue="left"),
        job_txn(":outer", id="r", queue="right"),
    ]
    handlers = {":outer": {"process": outer, "retry": Retry(max_attempts=10)}, ":inner": lambda job: None}
    return shop(*jobs), handlers


def test_a_deadlock_between_two_queues():
    violation = found(*queues_and_jobs({"left": "right", "right": "left"}), workers=4)
    assert violation.run.violation.startswith("deadlock: no process can continue, and handlers of w")


def test_no_deadlock_if_nobody_waits_for_a_limited_queue():
    assert simulate(*queues_and_jobs({"left": "free", "right": "free"}), workers=4, schedules=200).runs == 200
