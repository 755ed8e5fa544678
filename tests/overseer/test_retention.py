"""Pruning: what may go by a rule, and that everything else stays as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from overseer import OverseerError, install, job_txn
from overseer.jobs.states import STATUSES
from overseer.retention import ENDED, Rule, _prune, prunable, prune
from tests.overseer.by_hand import moved

AT_ONCE = Rule(timedelta(0))


def finished(id, type="load", **attributes):
    return {**job_txn(type, id=id), ":job/status": ":job.status/finished", **attributes}


def later(**ago):
    return datetime.now(UTC) + timedelta(**ago)


def left(conn):
    return sorted(factstore.q("[:find [?id ...] :where [_ :job/id ?id]]", conn.db()))


def facts(db):
    """Everything that is said of entities, but for transactions themselves."""
    system = db.entid(":db/txInstant")
    return {(d.e, d.a, d.v) for attribute in db.schema.attributes for d in db.datoms("aevt", attribute.ident) if d.a != system}


def test_jobs_that_ended_long_enough_ago_go_with_all_their_facts(conn):
    conn.transact([finished("old", **{":org/id": 7})])
    assert (0, 0) == prune(conn, Rule(timedelta(hours=1)), now=later())
    assert (1, 1) == prune(conn, Rule(timedelta(hours=1)), now=later(hours=2))
    assert [] == left(conn)
    assert [] == list(conn.db().datoms("aevt", ":org/id"))


def test_what_was_pruned_is_still_in_history(conn):
    before = conn.transact([finished("old")]).db_after
    prune(conn, AT_ONCE, now=later(hours=1))
    assert before.entid([":job/id", "old"]) is not None
    assert conn.db().as_of(before.basis_t).entid([":job/id", "old"]) is not None


def test_excised_jobs_are_in_no_history(conn):
    t = conn.transact([finished("old", **{":org/id": 7})]).db_after.basis_t
    prune(conn, AT_ONCE, now=later(hours=1), excise=True)
    assert conn.db().as_of(t).entid([":job/id", "old"]) is None
    assert [] == list(conn.db().history().datoms("aevt", ":org/id"))


def test_only_the_statuses_and_types_of_the_rule_go(conn):
    conn.transact([{**job_txn(type, id=f"{type}-{status.name}"), ":job/status": status} for type in ("a", "b") for status in STATUSES])
    prune(conn, Rule(timedelta(0), statuses=("finished", "failed"), types=("a",)), now=later(hours=1))
    assert ["a-aborted", "a-started", "a-unstarted", *(f"b-{status.name}" for status in sorted(STATUSES))] == left(conn)


def test_of_each_type_the_newest_stay(conn):
    for id in ("1", "2", "3"):
        conn.transact([finished(f"a{id}", "a")])
    conn.transact([finished("b1", "b")])
    prune(conn, Rule(timedelta(0), keep_last=2), now=later(hours=1))
    assert ["a2", "a3", "b1"] == left(conn)


@pytest.mark.parametrize("status", ["started", "unstarted", "done"])
def test_a_job_that_has_not_ended_is_never_pruned(conn, status):
    with pytest.raises(OverseerError, match=f"only jobs that ended are pruned: finished, failed, aborted; got '{status}'"):
        prune(conn, Rule(timedelta(0), statuses=(status,)), now=later())


def test_a_job_stays_while_one_that_depends_on_it_does(conn):
    conn.transact([finished("parent"), {**job_txn("load", id="child"), ":job/dep": "parent"}])
    assert 0 == prune(conn, AT_ONCE, now=later(hours=1)).jobs
    conn.transact([moved(conn.db(), "child", ":job.status/finished")])
    assert 2 == prune(conn, AT_ONCE, now=later(hours=1)).jobs


def test_a_job_stays_while_a_fact_of_somebody_elses_points_at_it_and_so_does_what_it_refers_to(conn):
    conn.transact([finished("parent"), finished("child", **{":job/dep": "parent"}), finished("other")])
    conn.transact([{":order/number": "A-1", ":order/of-job": [":job/id", "child"]}])
    prune(conn, AT_ONCE, now=later(hours=1))
    assert ["child", "parent"] == left(conn)


def test_components_go_with_their_job_unless_somebody_points_at_them(conn):
    ref = {":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"}
    conn.transact([{":db/ident": ":mail/body", ":db/isComponent": True, **ref}, {":db/ident": ":quote/of", **ref}])
    for id in ("quoted", "forgotten"):
        conn.transact([finished(id, **{":mail/body": {":order/number": id}})])
    conn.transact([{":quote/of": [":order/number", "quoted"]}])
    prune(conn, AT_ONCE, now=later(hours=1))
    assert ["quoted"] == left(conn)
    assert [None, True] == [conn.db().entid([":order/number", "forgotten"]), conn.db().entid([":order/number", "quoted"]) is not None]


def test_what_changed_after_the_look_is_seen_by_the_transaction(conn):
    """Between choosing jobs and retracting them one is run again by hand, and one gets a new dependent."""
    conn.transact([finished("again"), finished("parent"), finished("free")])
    chosen = prunable(conn.db(), AT_ONCE, later(hours=1))
    conn.transact([moved(conn.db(), "again", ":job.status/unstarted")])
    conn.transact([{**job_txn("load", id="new"), ":job/dep": [[":job/id", "parent"]]}])
    forms = _prune(conn.db(), [":job.status/finished"], *chosen)
    assert [[":db/retractEntity", conn.db().entid([":job/id", "free"])]] == forms


def test_a_long_chain_goes_in_batches_dependents_first(conn):
    chain = [finished(f"{n:03}", **({":job/dep": f"{n - 1:03}"} if n else {})) for n in range(100)]
    conn.transact(chain)
    told: list[int] = []
    seen: list[list[str]] = []

    def progress(gone):
        told.append(gone)
        seen.append(left(conn))

    assert (100, 4) == prune(conn, AT_ONCE, now=later(hours=1), batch=30, progress=progress)
    assert [30, 60, 90, 100] == told
    assert [[f"{n:03}" for n in range(100 - gone)] for gone in told] == seen


def test_jobs_that_refer_to_each_other_in_a_circle_go_together(conn):
    conn.transact([{":db/ident": ":job/twin", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"}])
    conn.transact([finished("a", **{":job/twin": "b"}), finished("b", **{":job/twin": "a"})])
    assert 2 == prune(conn, AT_ONCE, now=later(hours=1)).jobs


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_pruning_touches_nothing_but_the_pruned_and_leaves_nothing_pointing_at_them(data):
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([{":db/ident": ":order/of-job", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"}])
        count = data.draw(st.integers(1, 12))
        graph = []
        for n in range(count):
            deps = data.draw(st.sets(st.integers(0, n - 1), max_size=3)) if n else ()
            status = data.draw(st.sampled_from([*ENDED, ENDED[0], ENDED[0], STATUSES[0]]))
            graph.append(
                {**job_txn("load", id=str(n)), ":job/status": status, **({":job/dep": [str(dep) for dep in deps]} if deps else {})}
            )
        conn.transact(graph)
        pointed = data.draw(st.sets(st.integers(0, count - 1), max_size=2))
        conn.transact([{":order/of-job": [":job/id", str(n)]} for n in pointed])
        before = conn.db()
        statuses = data.draw(st.sets(st.sampled_from([status.name for status in ENDED]), min_size=1))
        done = prune(conn, Rule(timedelta(0), statuses=tuple(statuses)), now=later(hours=1), batch=data.draw(st.integers(1, 5)))
        after = conn.db()
        gone = {d.e for d in before.datoms("aevt", ":job/id")} - {d.e for d in after.datoms("aevt", ":job/id")}
        assert facts(after) == {fact for fact in facts(before) if fact[0] not in gone}
        refs = {before.schema.attribute(name).id for name in (":job/dep", ":order/of-job")}
        assert not [fact for fact in facts(after) if fact[1] in refs and fact[2] in gone]
        assert gone == closed_under_reference(before, statuses)
        assert len(gone) == done.jobs


def closed_under_reference(db, statuses):
    """The largest set of jobs with such statuses to which nobody outside it refers: the dumbest way."""
    jobs = {d.e for d in db.datoms("aevt", ":job/status") if d.v.name in statuses}
    while True:
        refs = [(d.e, d.v) for name in (":job/dep", ":order/of-job") for d in db.datoms("aevt", name)]
        outside = {v for e, v in refs if v in jobs and e not in jobs}
        if not outside:
            return jobs
        jobs -= outside
