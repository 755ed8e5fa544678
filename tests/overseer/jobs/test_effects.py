"""Effects outside of the store: each is declared once, by an attempt that holds its job, whatever becomes of attempts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import TransactError
from overseer import EffectRepeated, JobStore, install, job_txn
from overseer.errors import LeaseLost
from overseer.jobs.states import UNSTARTED, Outcome
from overseer.testing import FakeClock

LEASE = timedelta(seconds=30)
DECLARED = "[:find ?key ?id ?n :where [?e :effect/key ?key] [?e :effect/job ?j] [?j :job/id ?id] [?e :effect/attempt ?n]]"


def claim(conn, id):
    [job] = JobStore(conn, worker="w").claim([conn.db().entid([":job/id", id])], lease=LEASE)
    return job


def release(conn, job):
    assert [] == JobStore(conn, worker="w").settle([(job.lease, Outcome(UNSTARTED))])


def test_an_effect_is_recorded_with_its_attempt_before_it_happens(conn):
    conn.transact([job_txn(":pay", id="p")])
    job = claim(conn, "p")
    job.effect("charge/1")
    assert {("charge/1", "p", 1)} == factstore.q(DECLARED, conn.db())


def test_the_next_attempt_learns_which_one_declared_it_and_when(conn, clock):
    conn.transact([job_txn(":pay", id="p")])
    job = claim(conn, "p")
    job.effect("charge/1")
    declared = conn.db().instant_of(conn.db().basis_t)
    release(conn, job)
    clock.advance(60)
    with pytest.raises(EffectRepeated, match="attempt 1 of p declared the effect") as error:
        claim(conn, "p").effect("charge/1")
    told = error.value
    assert (":job.error/effect-repeated", "charge/1", "p", 1, declared) == (told.code, told.key, told.job, told.attempt, told.at)


def test_a_key_that_is_no_text_is_rejected(conn):
    conn.transact([job_txn(":pay", id="p")])
    with pytest.raises(TransactError):
        claim(conn, "p").effect(17)


@given(
    st.lists(
        st.tuples(st.sampled_from(["release and claim", "effect"]), st.integers(0, 1), st.integers(0, 9), st.integers(0, 2)), max_size=25
    )
)
def test_each_key_is_declared_once_and_only_under_a_lease(moves):
    with factstore.connect("memory:", clock=FakeClock()) as conn:
        install(conn)
        conn.transact([job_txn(":pay", id=id) for id in "01"])
        attempts = [[claim(conn, id)] for id in "01"]
        declared = {}
        for move, of, which, key in moves:
            job = attempts[of][which % len(attempts[of])]
            if move == "release and claim":
                release(conn, attempts[of][-1])
                attempts[of].append(claim(conn, str(of)))
                continue
            expected = LeaseLost if job is not attempts[of][-1] else EffectRepeated if f"key {key}" in declared else None
            if expected is None:
                job.effect(f"key {key}")
                declared[f"key {key}"] = (str(of), job.attempt)
            else:
                with pytest.raises(expected):
                    job.effect(f"key {key}")
        assert {(key, *by) for key, by in declared.items()} == factstore.q(DECLARED, conn.db())
