"""What lets an ended job run again, and what does not: retry and revert, unique keys, parents that were lost, crashes in a row."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Keyword, TransactError
from overseer import JobStore, after, fault, graph_txns, install, job_txn, revert, snooze, status, unique
from overseer.jobs.states import ABORTED, FAILED, FINISHED, LEASE, LIVE, MOST, STARTED, UNSTARTED, Outcome, Reason
from overseer.retry import Retry
from overseer.reverting import revert_now
from overseer.testing import drain
from overseer.worker import Config

LASTS = timedelta(seconds=30)


@pytest.fixture
def store(conn, clock):
    return JobStore(conn, worker="me")


def eid(conn, id):
    return conn.db().entid([":job/id", id])


def told(conn, id, attribute=":job/status"):
    return next((datom.v for datom in conn.db().datoms("eavt", eid(conn, id), attribute)), None)


def claim(store, id):
    [job] = store.claim([eid(store.conn, id)], lease=LASTS)
    return job.lease


def end(store, id, to, **more):
    assert [] == store.settle([(claim(store, id), Outcome(to, **more))])


def live_by_key(conn):
    """Return the live jobs that have, or had, each unique key, by its whole history."""
    rows = factstore.q(
        "[:find ?key ?id ?s :where [?k :unique/key ?key] [?k :unique/job ?j] [?j :job/id ?id] [?j :job/status ?s]]", conn.db()
    )
    ever = factstore.q("[:find ?key ?id :where [?k :unique/key ?key] [?k :unique/job ?j _ true] [?j :job/id ?id]]", conn.db().history())
    statuses = dict(factstore.q("[:find ?id ?s :where [?j :job/id ?id] [?j :job/status ?s]]", conn.db()))
    assert {(key, id) for key, id, _ in rows} <= ever
    found = {}
    for key, id in ever:
        if statuses.get(id) in LIVE:
            found.setdefault(key, set()).add(id)
    return found


# -- unique keys


def two_of_one_key(conn, store, to):
    """Return a store in which one job of a key has ended and another lives."""
    conn.transact([unique("k", job_txn(":a", id="first"))])
    if to == ABORTED:
        store.abort("first", "not now")
    else:
        end(store, "first", to)
    conn.transact([unique("k", job_txn(":a", id="second"))])


@pytest.mark.parametrize("to", [FAILED, ABORTED])
def test_a_job_is_not_retried_while_another_live_job_has_its_unique_key(conn, store, to):
    two_of_one_key(conn, store, to)
    before = conn.db().basis_t
    with pytest.raises(TransactError, match="first cannot run again: the live job second has its unique key 'k'") as error:
        store.retry("first")
    assert ":job.error/duplicate" == error.value.code
    assert "k" == error.value.key
    assert "second" == error.value.known
    assert before == conn.db().basis_t
    end(store, "second", FINISHED)
    assert store.retry("first")


def test_a_retried_job_has_its_key_again_so_that_no_other_is_inserted(conn, store):
    two_of_one_key(conn, store, FAILED)
    end(store, "second", FINISHED)
    store.retry("first")
    conn.transact([unique("k", job_txn(":a", id="third"))])
    assert {"first"} == status.jobs_unstarted(conn.db())


def test_a_retry_and_an_insertion_in_one_transaction_cannot_both_have_the_key(conn, store):
    conn.transact([unique("k", job_txn(":a", id="first"))])
    t = conn.transact([[":db/cas", eid(conn, "first"), ":job/status", UNSTARTED, ABORTED]]).db_after.basis_t
    with pytest.raises(TransactError) as error:
        conn.transact([*revert(conn.db(), t), unique("k", job_txn(":a", id="second"))])
    assert ":db.error/datoms-conflict" == error.value.code
    assert set() == status.jobs_unstarted(conn.db())


def test_a_mass_abort_is_taken_back_but_for_jobs_whose_key_is_taken(conn, store):
    conn.transact([unique("k", job_txn(":a", id="first")), job_txn(":a", id="other")])
    t = conn.transact([[":db/cas", eid(conn, id), ":job/status", UNSTARTED, ABORTED] for id in ("first", "other")]).db_after.basis_t
    conn.transact([unique("k", job_txn(":a", id="second"))])
    assert ({"other"}, {"first"}) == tuple(revert_now(conn, t))
    assert {"k": {"second"}} == live_by_key(conn)


def test_a_revert_whose_key_was_taken_after_it_was_made_is_rejected(conn):
    conn.transact([unique("k", job_txn(":a", id="first"))])
    t = conn.transact([[":db/cas", eid(conn, "first"), ":job/status", UNSTARTED, ABORTED]]).db_after.basis_t
    made = revert(conn.db(), t)
    conn.transact([unique("k", job_txn(":a", id="second"))])
    with pytest.raises(TransactError) as error:
        conn.transact(made)
    assert ":job.error/duplicate" == error.value.code
    assert {"second"} == status.jobs_unstarted(conn.db())


def test_of_the_jobs_given_up_on_an_account_those_run_again_whose_keys_are_free(conn, store):
    """Two were given up one after the other under one key: the one that had it last comes back."""
    conn.transact([job_txn(":root", id="root")])
    root = eid(conn, "root")
    conn.transact([unique("k", job_txn(":a", {":job/dep": [root]}, id="older")), job_txn(":a", {":job/dep": [root]}, id="plain")])
    end(store, "root", FAILED)
    conn.transact([unique("k", job_txn(":a", {":job/dep": [root]}, id="newer"))])
    store.give_up([eid(conn, "newer")])
    assert {ABORTED} == {told(conn, id) for id in ("older", "plain", "newer")}
    assert store.retry("root")
    assert {"root", "plain", "newer"} == status.jobs_unstarted(conn.db())
    assert {"k": {"newer"}} == live_by_key(conn)


MOVES = st.lists(
    st.tuples(st.sampled_from(["insert", "fail", "finish", "abort", "retry", "revert", "prune"]), st.integers(0, 3), st.sampled_from("xy")),
    max_size=25,
)


@given(MOVES)
@settings(max_examples=120, deadline=None)
def test_no_operation_makes_two_live_jobs_of_one_key(moves):
    with factstore.connect("memory:") as conn:
        install(conn)
        store, jobs = JobStore(conn, worker="me"), 0
        for move, which, key in moves:
            if move == "insert":
                jobs += 1
                conn.transact([unique(key, job_txn(":a", id=f"j{jobs}"))])
            elif move == "revert":
                revert_now(conn, max(1, conn.db().basis_t - which))
            elif (job := eid(conn, f"j{jobs - which}")) is not None:
                _move(conn, store, move, job)
            assert all(len(live) == 1 for live in live_by_key(conn).values())


def _move(conn, store, move, job):
    if move == "retry":
        try:
            store.retry(job)
        except TransactError as error:
            assert ":job.error/duplicate" == error.code
    elif move == "abort":
        store.abort(job, "by hand")
    elif move == "prune":
        conn.transact([[":db/retractEntity", job]])
    elif claimed := store.claim([job], lease=LASTS):
        store.settle([(claimed[0].lease, Outcome(FAILED if move == "fail" else FINISHED))])


# -- parents


def test_a_job_is_not_retried_while_a_parent_is_lost_and_is_told_which_to_retry(conn, store):
    conn.transact(graph_txns({":a": [], ":b": [":a"], ":c": [":b"]}, ids=iter("abc").__next__))
    end(store, "a", FAILED)
    before = conn.db().basis_t
    for child, why, parents in (
        ("b", "b waits for a, which failed: retry a", ["a"]),
        ("c", "c waits for b, which was aborted because of a: retry a", ["b"]),
    ):
        with pytest.raises(TransactError, match=why) as error:
            store.retry(child)
        assert ":job.error/parent-lost" == error.value.code
        assert parents == error.value.parents
        assert ["a"] == error.value.retry
    assert before == conn.db().basis_t
    assert store.retry("a")
    assert {"a", "b", "c"} == status.jobs_unstarted(conn.db())


def test_all_lost_parents_are_named(conn, store):
    conn.transact(graph_txns({":a": [], ":b": [], ":c": [":a", ":b"]}, ids=iter("abc").__next__))
    store.abort("a", "no")
    end(store, "b", FAILED)
    with pytest.raises(TransactError, match="c waits for a, which was aborted; c waits for b, which failed: retry a and b"):
        store.retry("c")


@pytest.mark.parametrize(("rule", "lost"), [("all-success", True), ("none-failed", True), ("any", True), ("all-done", False)])
def test_a_job_is_retried_where_its_rule_accepts_how_its_parents_ended(conn, store, rule, lost):
    conn.transact(graph_txns({":a": [], ":b": after(":a", when=rule)}, ids=iter("ab").__next__))
    store.abort("b", "by hand")
    end(store, "a", FAILED)
    if lost:
        with pytest.raises(TransactError, match="retry a"):
            store.retry("b")
    else:
        assert store.retry("b")


def test_a_parent_that_fails_between_the_look_and_the_write_is_seen(conn, store, monkeypatch):
    conn.transact(graph_txns({":a": [], ":b": [":a"]}, ids=iter("ab").__next__))
    store.abort("b", "by hand")
    seen, newest = conn.db(), conn.db
    end(store, "a", FAILED)
    answers = iter([seen])
    monkeypatch.setattr(conn, "db", lambda: next(answers, None) or newest())
    with pytest.raises(TransactError, match="b waits for a, which failed"):
        store.retry("b")
    assert ABORTED == told(conn, "b")


# -- crashes in a row


def crash(store, clock, id):
    claim(store, id)
    clock.advance(120)
    assert 1 == len(store.rescue(max_crashes=3))
    clock.advance(120)


def _snooze(job):
    snooze(1)


def _fault(job):
    fault("not yet", pause=1)


def _fail(job):
    raise ValueError("again")


@pytest.mark.parametrize("handler", [_snooze, _fault, _fail])
def test_only_crashes_in_a_row_count(conn, store, clock, handler):
    conn.transact([job_txn(":a", id="j")])
    config = Config(retries={"a": Retry(max_attempts=100)})
    for _ in range(3):
        crash(store, clock, "j")
        crash(store, clock, "j")
        assert 2 == told(conn, "j", ":job/crashes")
        assert 1 == drain(conn, {":a": handler}, config=config)
        assert UNSTARTED == told(conn, "j")
        assert told(conn, "j", ":job/crashes") is None
    for _ in range(3):
        crash(store, clock, "j")
    assert FAILED == told(conn, "j")
    assert Reason.WORKER_DIED == told(conn, "j", ":job/reason")


def test_an_attempt_that_its_worker_gave_back_is_no_end_and_resets_nothing(conn, store, clock):
    conn.transact([job_txn(":a", id="j")])
    crash(store, clock, "j")
    store.release([claim(store, "j")])
    assert 1 == told(conn, "j", ":job/crashes")


@pytest.mark.parametrize("to", [FINISHED, FAILED])
def test_an_end_that_is_taken_back_has_reset_the_count(conn, store, clock, to):
    conn.transact([job_txn(":a", id="j")])
    crash(store, clock, "j")
    end(store, "j", to)
    conn.transact(revert(conn.db(), conn.db().basis_t))
    assert UNSTARTED == told(conn, "j")
    assert told(conn, "j", ":job/crashes") is None


def test_a_retried_job_begins_to_count_anew(conn, store, clock):
    conn.transact([job_txn(":a", id="j")])
    for _ in range(3):
        crash(store, clock, "j")
    store.retry("j")
    assert None is told(conn, "j", ":job/crashes")


# -- states that no move makes, and a transaction or an import can

ADRIFT = {
    "started, and nothing else": {":job/status": STARTED},
    **{
        f"started, without {missing}": {
            ":job/attempt": 3,
            ":job/token": "t",
            ":job/lease-expires": factstore.edn.read('#inst "2020"'),
            ":job/status": STARTED,
            missing: None,
        }
        for missing in LEASE
    },
}
NO_STATUS = {"of a status that is none": {":job/status": Keyword(":job.status/lost")}, "without a status": {":job/status": None}}


def assert_job(conn, about):
    job = {**job_txn(":a", id="j"), **about}
    conn.transact([{attribute: value for attribute, value in job.items() if value is not None}])


@pytest.mark.parametrize("state", [*ADRIFT, *NO_STATUS])
def test_retry_leads_out_of_every_state_that_no_worker_does(conn, store, state):
    assert_job(conn, {**ADRIFT, **NO_STATUS}[state])
    assert store.retry("j")
    assert 1 == drain(conn, {":a": lambda job: None})
    assert FINISHED == told(conn, "j")


@pytest.mark.parametrize("state", [*ADRIFT, *NO_STATUS])
def test_abort_ends_every_state_that_no_worker_leads_out_of(conn, store, state):
    assert_job(conn, {**ADRIFT, **NO_STATUS}[state])
    assert store.abort("j", "by hand")
    assert ABORTED == told(conn, "j")


@pytest.mark.parametrize("state", ADRIFT)
def test_a_job_that_was_started_without_a_lease_is_taken_and_runs(conn, store, state):
    assert_job(conn, ADRIFT[state])
    [(lease, to)] = store.rescue(max_crashes=1)
    assert "j" == lease.id
    assert UNSTARTED == to
    assert UNSTARTED == told(conn, "j")
    assert told(conn, "j", ":job/crashes") is None
    assert 1 == drain(conn, {":a": lambda job: None})


def test_a_job_that_a_worker_holds_is_neither_retried_nor_taken(conn, store, clock):
    conn.transact([job_txn(":a", id="j")])
    lease = claim(store, "j")
    assert not store.retry("j")
    clock.advance(31)
    assert not store.retry("j")
    assert [] == JobStore(conn, worker="other").settle([(lease, Outcome(FINISHED))])


def test_a_job_that_cannot_be_claimed_fails_alone_and_says_why(conn, store, caplog):
    """The attempt after the largest number there is has none."""
    conn.transact(
        [job_txn(":a", {":job/attempt": MOST}, id="bad"), job_txn(":a", id="good"), job_txn(":b", {":job/dep": "bad"}, id="below")]
    )
    claimed = store.claim([eid(conn, id) for id in ("bad", "good")], lease=LASTS)
    assert ["good"] == [job.id for job in claimed]
    assert FAILED == told(conn, "bad")
    assert Reason.UNCLAIMABLE == told(conn, "bad", ":job/reason")
    assert ABORTED == told(conn, "below")
    assert ":job/attempt" in told(conn, "bad", ":job/failure")
    assert ["bad"] == [record.args[1] for record in caplog.records if "cannot be claimed" in record.message]


@pytest.mark.parametrize("counter", [":job/failures", ":job/faults", ":job/crashes"])
def test_a_counter_at_its_largest_number_stays_there(conn, store, clock, counter):
    conn.transact([job_txn(":a", {counter: MOST}, id="j")])
    assert [] == store.settle([(claim(store, "j"), Outcome(UNSTARTED, counts=counter))])
    assert MOST == told(conn, "j", counter)
