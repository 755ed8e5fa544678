"""The ready set: what may start, kept by tailing the log, equal to what a query of the whole store says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import Keyword
from overseer import install, job_graph, job_txn, status, transact_graph
from overseer.jobs.dependency_rules import RULES
from overseer.jobs.states import ABORTED, FAILED, FINISHED, STARTED, STATUSES, UNSTARTED
from overseer.worker.choice import Bag
from overseer.worker.ready import ReadySet
from tests.overseer.by_hand import moved

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def picked(ready, db, now=NOW):
    """The ids of all ready jobs, taken out."""
    jobs = ready.pick(10_000, now=now, random=Random(0))
    return {datom.v for job in jobs for datom in db.datoms("eavt", job, ":job/id")}


def loaded(db, types=None, **how):
    ready = ReadySet(types, **how)
    ready.load(db)
    return ready


def put(conn, id, to, deps=(), **more):
    """Insert a job of any status, the way no worker would."""
    attributes = {":job/status": to, **{f":job/{key}": value for key, value in more.items()}}
    edges = [[":db/add", id, ":job/dep", [":job/id", dep]] for dep in deps]
    conn.transact([job_txn(f":{id}", attributes, id=id), *edges])


# -- one job at a time


@pytest.mark.parametrize(("to", "ready"), [(UNSTARTED, True), (STARTED, False), (FINISHED, False), (FAILED, False), (ABORTED, False)])
def test_of_jobs_without_dependencies_the_unstarted_are_ready(conn, to, ready):
    put(conn, "j", to)
    assert ({"j"} if ready else set()) == picked(loaded(conn.db()), conn.db()) == status.jobs_ready(conn.db())


@pytest.mark.parametrize("parents", [(a, b) for a in STATUSES for b in STATUSES])
@pytest.mark.parametrize("rule", RULES)
def test_a_job_is_ready_when_its_rule_accepts_the_statuses_of_its_parents(conn, parents, rule):
    put(conn, "a", parents[0])
    put(conn, "b", parents[1])
    put(conn, "j", UNSTARTED, ["a", "b"], rule=rule)
    live, failed, finished = ({s for s in parents if s in group} for group in ((UNSTARTED, STARTED), (FAILED,), (FINISHED,)))
    expected = {
        ":job.rule/all-success": parents == (FINISHED, FINISHED),
        ":job.rule/all-done": not live,
        ":job.rule/none-failed": not live and not failed,
        ":job.rule/any": bool(finished),
    }[rule]
    assert expected == ("j" in status.jobs_ready(conn.db()))
    assert expected == ("j" in picked(loaded(conn.db()), conn.db()))


def test_readiness_moves_along_a_chain_as_each_job_finishes(conn):
    graph = transact_graph(conn, job_graph({":a": [], ":b": [":a"], ":c": [":b"]}))
    ids = list(graph.jobs)
    for n, id in enumerate(ids):
        assert {id} == status.jobs_ready(conn.db()) == picked(loaded(conn.db()), conn.db())
        conn.transact([moved(conn.db(), id, FINISHED)])
        assert n + 1 == status.counts(conn.db())[FINISHED]
    assert set() == status.jobs_ready(conn.db())


def test_jobs_of_types_without_a_handler_are_left_to_others(conn):
    put(conn, "mine", UNSTARTED)
    put(conn, "theirs", UNSTARTED)
    ready = loaded(conn.db(), [Keyword(":mine")])
    assert {"mine"} == picked(ready, conn.db())
    assert 1 == len(ready.live)


def test_a_job_that_waits_for_its_time_becomes_ready_when_the_time_has_come(conn):
    put(conn, "j", UNSTARTED, **{"run-at": NOW + timedelta(seconds=5)})
    ready = loaded(conn.db())
    assert set() == picked(ready, conn.db(), NOW) == status.jobs_ready(conn.db(), at=NOW)
    assert NOW + timedelta(seconds=5) == ready.next_due()
    later = NOW + timedelta(seconds=5)
    assert {"j"} == status.jobs_ready(conn.db(), at=later) == picked(ready, conn.db(), later)
    assert None is ready.next_due()


def test_a_job_added_below_one_that_has_failed_is_doomed_not_forgotten(conn):
    put(conn, "a", FAILED)
    put(conn, "b", UNSTARTED, ["a"])
    ready = loaded(conn.db())
    assert [conn.db().entid([":job/id", "b"])] == ready.take_doomed()
    assert [] == ready.take_doomed()


def test_a_job_that_depends_on_what_is_no_job_waits_for_it_to_become_one(conn):
    thing = conn.transact([{":db/id": "thing", ":order/number": "A-1"}]).tempids["thing"]
    conn.transact([{**job_txn(":j", id="j"), ":job/dep": thing}])
    ready = loaded(conn.db())
    assert set() == picked(ready, conn.db()) == status.jobs_ready(conn.db())
    report = conn.transact([{":db/id": thing, ":job/status": FINISHED}])
    ready.absorb(report.db_after, report.tx_data)
    assert {"j"} == picked(ready, conn.db()) == status.jobs_ready(conn.db())


def test_a_job_with_a_rule_that_does_not_exist_waits_and_says_so(conn):
    """It must not take down every worker that looks at it."""
    put(conn, "a", FINISHED)
    put(conn, "j", UNSTARTED, ["a"], rule=":job.rule/most")
    assert set() == picked(loaded(conn.db()), conn.db()) == status.jobs_ready(conn.db())
    assert ":job.rule/most" in status.explain(conn.db(), "j").why


def test_an_entity_with_a_status_but_no_id_is_no_job(conn):
    report = conn.transact([{":job/status": UNSTARTED, ":job/type": ":a"}])
    ready = loaded(conn.db())
    ready.absorb(report.db_after, report.tx_data)
    assert set() == ready.live == status.jobs_ready(conn.db())


# -- the law: absorbed bit by bit, or loaded at once


changes = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.sampled_from(sorted(RULES)), st.lists(st.integers(0, 5), max_size=3)),
        st.tuples(st.just("set"), st.integers(0, 5), st.sampled_from(STATUSES)),
        st.tuples(st.just("depend"), st.integers(0, 5), st.integers(0, 5)),
        st.tuples(st.just("release"), st.integers(0, 5), st.integers(0, 5)),
        st.tuples(st.just("delay"), st.integers(0, 5), st.integers(-1, 2)),
        st.tuples(st.just("remove"), st.integers(0, 5), st.none()),
    ),
    max_size=25,
)


def transaction(db, change, jobs):
    """Turn a change into tx-data about the jobs there are; None when it is about one that there is not."""
    kind, first, second = change
    if kind == "insert":
        edges = [[":db/add", "new", ":job/dep", jobs[n]] for n in second if n < len(jobs)]
        return [job_txn(":foo", {":job/rule": first}, id="new") | {":db/id": "new", ":job/id": f"j{len(jobs)}"}, *edges]
    if first >= len(jobs) or jobs[first] is None:
        return None
    if kind in ("depend", "release"):
        if second >= len(jobs) or jobs[second] is None:
            return None
        return [[":db/add" if kind == "depend" else ":db/retract", jobs[first], ":job/dep", jobs[second]]]
    if kind == "remove":
        return [[":db/retractEntity", jobs[first]]]
    if kind == "set":
        return [moved(db, jobs[first], second)]
    return [{":db/id": jobs[first], ":job/run-at": NOW + timedelta(seconds=second)}]


@given(changes, st.integers(1, 4), st.sampled_from([1, 2, 50]))
def test_absorbing_every_transaction_gives_what_loading_the_last_database_gives(changes, at_once, many):
    with factstore.connect("memory:") as conn:
        install(conn)
        tailing, jobs, pending = loaded(conn.db(), many=many), [], []
        for number, change in enumerate(changes):
            forms = transaction(conn.db(), change, jobs)
            if forms is None or any(None in form for form in forms if isinstance(form, list)):
                continue
            report = conn.transact(forms)
            if change[0] == "insert":
                jobs.append(report.tempids["new"])
            elif change[0] == "remove":
                jobs[change[1]] = None
            pending += report.tx_data
            if number % at_once == 0:
                tailing.absorb(conn.db(), pending)
                pending = []
        tailing.absorb(conn.db(), pending)
        fresh = loaded(conn.db())
        assert (fresh.live, fresh.unstarted, fresh.others) == (tailing.live, tailing.unstarted, tailing.others)
        assert fresh.doomed == tailing.doomed
        for second in (0, 1, 2):
            now = NOW + timedelta(seconds=second)
            assert picked(fresh, conn.db(), now) == picked(tailing, conn.db(), now)
        assert fresh.next_due() == tailing.next_due()


# -- the bag


@given(st.lists(st.tuples(st.sampled_from(["add", "discard", "draw"]), st.integers(0, 5))), st.randoms())
def test_a_bag_is_a_set_from_which_members_are_drawn(steps, random):
    bag, model = Bag(), set()
    for step, item in steps:
        if step == "draw":
            if model:
                drawn = bag.draw(random)
                assert drawn in model
                model.discard(drawn)
        else:
            getattr(bag, step)(item)
            getattr(model, step)(item)
        assert len(model) == len(bag)
        assert all((n in model) == (n in bag) for n in range(6))


def test_every_ready_job_is_drawn_as_often_as_any_other():
    random, seen = Random(1), dict.fromkeys(range(4), 0)
    for _ in range(4_000):
        bag = Bag()
        for item in range(4):
            bag.add(item)
        seen[bag.draw(random)] += 1
    assert all(850 < times < 1_150 for times in seen.values())
