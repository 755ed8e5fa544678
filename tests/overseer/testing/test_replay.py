"""Replays: the same handlers give the same outcomes, from any moment; other handlers give exactly the differences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from overseer import Result, Retry, abort, graph_txns, install, job_txn, once
from overseer.testing import FakeClock, drain, replay
from tests.overseer.testing.shop import ANN, SCHEMA, balance

ENDS = ("finish", "fail", "abort", "result", "fact", "retry")


def handler_of(ends, *, more=0):
    """Return a handler that ends each job as `ends` says; `more` changes the facts that it asserts."""

    def handle(job):
        end = ends[job.id]
        if end == "fail" or (end == "retry" and job.get(":job/failures", 0) == 0):
            raise ValueError(f"{job.id} fails")
        if end == "abort":
            abort("enough")
        if end == "result":
            return Result(job.id)
        return [{":payment/of": job.id, ":account/balance": len(job.id) + more}] if end == "fact" else None

    return {":a": {"process": handle, "retry": Retry(max_attempts=2)}}


def ran(ends, deps):
    """Return a store in which jobs were drained, and the t of their insertion."""
    conn = factstore.connect("memory:", clock=FakeClock())
    install(conn)
    conn.transact(SCHEMA)
    jobs = [
        job_txn(":a", {":job/dep": sorted({f"j{dep}" for dep in deps[n] if dep < n})} if deps[n] else None, id=f"j{n}")
        for n in range(len(ends))
    ]
    t = conn.transact([{key: value for key, value in job.items() if value != []} for job in jobs]).t
    drain(conn, handler_of({f"j{n}": end for n, end in enumerate(ends)}), wait=True)
    return conn, t


@given(st.data())
def test_the_same_handlers_do_the_same_from_any_moment(data):
    ends = data.draw(st.lists(st.sampled_from(ENDS), min_size=1, max_size=6), "ends")
    deps = data.draw(st.lists(st.sets(st.integers(0, 5), max_size=2), min_size=len(ends), max_size=len(ends)), "deps")
    conn, t = ran(ends, deps)
    basis = conn.db().basis_t
    at = data.draw(st.integers(t, basis), "as of")
    again = replay(conn, as_of=at, app=handler_of({f"j{n}": end for n, end in enumerate(ends)}))
    assert [] == again.differences, str(again)
    assert basis == conn.db().basis_t


@given(st.lists(st.sampled_from(["finish", "fail", "fact", "result"]), min_size=1, max_size=6), st.integers(0, 5), st.sampled_from(ENDS))
def test_a_job_that_ends_otherwise_is_the_only_difference(ends, which, other):
    which %= len(ends)
    conn, t = ran(ends, [()] * len(ends))
    now = {f"j{n}": end for n, end in enumerate(ends)} | {f"j{which}": other}
    differences = replay(conn, as_of=t, app=handler_of(now)).differences
    assert ([] if ends[which] == other else [f"j{which}"]) == [difference.job for difference in differences]


def test_a_difference_says_which_facts_are_new():
    conn, t = ran(["fact"], [()])
    told = str(replay(conn, as_of=t, app=handler_of({"j0": "fact"}, more=5)))
    assert "1 jobs in 1 attempts: 0 as they were, 1 different" in told
    assert "only in reality:   added :account/balance of 'j0': 2" in told
    assert "only in the replay: added :account/balance of 'j0': 7" in told


def test_a_job_that_was_running_then_runs_again():
    conn, t = ran(["finish"], [()])
    again = replay(conn, as_of=t + 1, app=handler_of({"j0": "fail"}))
    assert [("j0", ("status", "attempts", "failure"))] == [(difference.job, difference.what) for difference in again.differences]


def test_a_store_is_opened_by_its_path_and_not_changed(tmp_path):
    path = str(tmp_path / "shop.facts")
    with factstore.connect(path) as conn:
        install(conn)
        conn.transact(SCHEMA)
        t = conn.transact([{":account/id": "ann", ":account/balance": 10}, job_txn(":draw", id="d")]).t
        drain(conn, {":draw": lambda job: [[":db/add", ANN, ":account/balance", 9]]})
        basis = conn.db().basis_t
    again = replay(path, as_of=t, app={":draw": lambda job: [[":db/add", ANN, ":account/balance", 8]]})
    assert 8 == balance(again.db)
    assert ["d"] == [difference.job for difference in again.differences]
    with factstore.connect(path) as conn:
        assert (basis, 9) == (conn.db().basis_t, balance(conn.db()))


def test_jobs_that_a_handler_inserts_run_too():
    with factstore.connect("memory:") as conn:
        install(conn)
        t = conn.transact(graph_txns({":a": []})).t
        done = []
        replay(conn, as_of=t, app={":a": lambda job: [once(job_txn(":b", id="b"))], ":b": lambda job: done.append(job.id)})
    assert ["b"] == done


def test_a_moment_that_is_none_is_rejected():
    with factstore.connect("memory:") as conn, pytest.raises(factstore.FactStoreError):
        replay(conn, as_of="yesterday", app={":a": lambda job: None})
