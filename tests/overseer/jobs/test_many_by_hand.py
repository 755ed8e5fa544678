"""Many jobs changed by an operator in one transaction: the statuses are those of one change after the other."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from overseer import JobStore, install, job_txn, status
from overseer.errors import OverseerError
from overseer.testing import drain

GRAPHS = st.integers(1, 6).flatmap(
    lambda n: st.tuples(*(st.frozensets(st.integers(0, each - 1), max_size=2) if each else st.just(frozenset()) for each in range(n)))
)
SUBSETS = st.frozensets(st.integers(0, 5))


def fail(job):
    raise ValueError(job.id)


def worked(graph: tuple[frozenset[int], ...], failing: frozenset[int]) -> factstore.Connection:
    """Return a store in which the jobs of a graph ran; some of them failed."""
    conn = factstore.connect("memory:")
    install(conn)
    conn.transact(
        [
            {**job_txn("bad" if n in failing else "good", id=str(n)), ":job/dep": [str(parent) for parent in parents]}
            for n, parents in enumerate(graph)
        ]
    )
    drain(conn, {"good": lambda job: None, "bad": fail})
    return conn


def statuses(conn: factstore.Connection) -> dict[str, str]:
    return {job.id: job.status.name for job in status.jobs(conn.db())}


@given(GRAPHS, SUBSETS, SUBSETS)
@settings(deadline=None, max_examples=40)
def test_jobs_that_run_again_together_are_those_that_run_again_one_by_one(graph, failing, chosen):
    ids = [str(n) for n in range(len(graph)) if n in chosen]
    with worked(graph, failing) as together, worked(graph, failing) as single:
        before, t = statuses(together), together.db().basis_t
        again = JobStore(together, worker="me").retry_all(ids)
        store = JobStore(single, worker="me")
        for id in sorted(ids, key=lambda id: before[id] != "failed"):  # a job that was aborted needs the one that failed first
            try:
                store.retry(id)
            except (OverseerError, factstore.TransactError) as error:
                assert ":job.error/parent-lost" == error.code
        after = statuses(together)
        assert statuses(single) == after
        assert set(again) == {id for id in after if before[id] != after[id]}
        assert together.db().basis_t == t + bool(again)


@given(GRAPHS, SUBSETS, SUBSETS)
@settings(deadline=None, max_examples=40)
def test_jobs_that_are_aborted_together_are_those_that_are_aborted_one_by_one(graph, failing, chosen):
    ids = [str(n) for n in range(len(graph)) if n in chosen]
    with worked(graph, failing) as together, worked(graph, failing) as single:
        for conn in (together, single):
            JobStore(conn, worker="me").retry_all([id for id, status in statuses(conn).items() if status == "failed"])
        before, t = statuses(together), together.db().basis_t
        aborted = JobStore(together, worker="me").abort_all(ids, "not now")
        for id in ids:
            JobStore(single, worker="me").abort(id, "not now")
        after = statuses(together)
        assert statuses(single) == after
        assert set(aborted) == {id for id in after if before[id] != after[id]}
        assert together.db().basis_t == t + bool(aborted)
