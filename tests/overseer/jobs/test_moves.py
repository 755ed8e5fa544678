"""Moves of jobs in a real store: each compares what it relies on, and whoever loses writes nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import CasFailed, TransactError
from overseer import GraphError, JobStore, LeaseLost, after, graph_txns, install, job_graph, job_txn, simple_graph, status, transact_graph
from overseer.jobs import lookup
from overseer.jobs.dependency_rules import DOOMED, READY
from overseer.jobs.leases import standing
from overseer.jobs.states import ABORTED, FAILED, FINISHED, MOVES, STARTED, STATUSES, UNSTARTED, Outcome, Reason
from overseer.testing import drain

LEASE = timedelta(seconds=30)
CHAIN = {":a": [], ":b": [":a"], ":c": [":b"]}
FINISH = Outcome(FINISHED)
FAIL = Outcome(FAILED, reason=Reason.EXCEPTION, failure={factstore.Keyword(":message"): "boom"})


@pytest.fixture
def store(conn, clock):
    return JobStore(conn, worker="w1")


@pytest.fixture
def other(conn, clock):
    return JobStore(conn, worker="w2")


def insert(conn, *ids, **attributes):
    conn.transact([job_txn(":foo", attributes.get(id), id=id) for id in ids])
    return [conn.db().entid([":job/id", id]) for id in ids]


def claim(store, *jobs):
    return [job.lease for job in store.claim(jobs, lease=LEASE)]


def told(conn, id, attribute=":job/status"):
    return factstore.q("[:find ?v . :in $ ?id ?a :where [?j :job/id ?id] [?j ?a ?v]]", conn.db(), id, conn.db().entid(attribute))


def statuses(conn):
    return dict(factstore.q("[:find ?type ?s :where [?j :job/type ?type] [?j :job/status ?s]]", conn.db()))


# -- installing and inserting


def test_installing_twice_changes_nothing(conn):
    before = conn.db().basis_t
    install(conn)
    assert before == conn.db().basis_t


def test_a_graph_is_transacted_by_the_user_together_with_what_it_is_about(conn):
    before = conn.db().basis_t
    conn.transact([{":order/number": "A-1", ":order/total": 10}, *graph_txns(CHAIN, {":org/id": 123})])
    assert before + 1 == conn.db().basis_t
    assert {":a": UNSTARTED, ":b": UNSTARTED, ":c": UNSTARTED} == statuses(conn)
    edges = factstore.q("[:find ?c ?p :where [?j :job/dep ?d] [?j :job/type ?c] [?d :job/type ?p] [?j :org/id 123]]", conn.db())
    assert {(":b", ":a"), (":c", ":b")} == edges


def test_an_argument_that_the_schema_does_not_know_rejects_the_transaction_and_says_how_to_add_it(conn):
    before = conn.db().basis_t
    with pytest.raises(TransactError, match=":org/name") as caught:
        conn.transact(graph_txns(CHAIN, {":org/name": "Acme"}))
    assert ":db/valueType" in str(caught.value)
    assert before == conn.db().basis_t
    assert {} == statuses(conn)


def test_a_graph_is_inserted_once_and_other_arguments_do_not_update_it(conn):
    graph = job_graph(CHAIN, {":org/id": 1})
    assert graph == transact_graph(conn, graph)
    before = conn.db().basis_t
    changed = type(graph)({id: {**job, ":org/id": 2} for id, job in graph.jobs.items()}, graph.deps)
    assert changed == transact_graph(conn, changed)
    assert before == conn.db().basis_t
    assert [1] == factstore.q("[:find [?o ...] :where [_ :org/id ?o]]", conn.db())


def test_a_graph_of_which_only_a_part_is_known_is_refused_and_nothing_is_written(conn):
    """Overseer dropped the whole graph without a word, and its new jobs with it."""
    insert(conn, "old")
    before = conn.db().basis_t
    with pytest.raises(GraphError, match="old") as caught:
        transact_graph(conn, simple_graph({":job/id": "old", ":job/type": ":foo"}, {":job/id": "new", ":job/type": ":foo"}))
    assert ["old"] == caught.value.known
    assert before == conn.db().basis_t


def test_inserting_a_graph_again_does_not_put_its_running_jobs_back(conn, store):
    graph = transact_graph(conn, simple_graph({":job/id": "one", ":job/type": ":foo"}))
    claim(store, conn.db().entid([":job/id", "one"]))
    assert graph == transact_graph(conn, graph)
    assert STARTED == told(conn, "one")


# -- claiming


def test_a_claim_starts_the_job_and_counts_the_attempt(conn, store):
    [job] = insert(conn, "j")
    [claimed] = store.claim([job], lease=LEASE)
    assert "j" == claimed.id
    assert ":foo" == claimed.type
    assert 1 == claimed.attempt
    assert "w1" == claimed.lease.worker
    assert STARTED == told(conn, "j") == claimed[":job/status"]
    assert conn.now() + LEASE == told(conn, "j", ":job/lease-expires")


def test_a_started_job_cannot_be_claimed_again(conn, store, other):
    """Overseer 0.8.2 let a second worker reserve it."""
    [job] = insert(conn, "j")
    assert 1 == len(claim(store, job))
    assert [] == claim(other, job)
    assert 1 == told(conn, "j", ":job/attempt")


def test_of_two_that_claim_from_the_same_database_one_wins(conn, store, other, monkeypatch):
    [job] = insert(conn, "j")
    seen, newest = conn.db(), conn.db
    assert 1 == len(claim(store, job))
    answers = iter([seen])
    monkeypatch.setattr(conn, "db", lambda: next(answers, None) or newest())
    assert [] == claim(other, job)
    assert "w1" == told(conn, "j", ":job/worker")
    assert 1 == told(conn, "j", ":job/attempt")


def test_one_lost_race_does_not_lose_the_batch(conn, store, other, monkeypatch):
    jobs = insert(conn, "a", "b", "c")
    seen, newest = conn.db(), conn.db
    claim(other, jobs[1])
    answers = iter([seen])
    monkeypatch.setattr(conn, "db", lambda: next(answers, None) or newest())
    assert ["a", "c"] == [lease.id for lease in claim(store, *jobs)]


def test_a_handler_reads_the_database_as_of_its_claim(conn, store):
    insert(conn, "j", j={":org/id": 7})
    [claimed] = store.claim([conn.db().entid([":job/id", "j"])], lease=LEASE)
    conn.transact([{":order/number": "later"}])
    assert 7 == claimed[":org/id"]
    assert None is claimed.db.entid([":order/number", "later"])
    assert STARTED == factstore.q('[:find ?s . :where [?j :job/id "j"] [?j :job/status ?s]]', claimed.db)


# -- ending


@pytest.mark.parametrize("to", [FINISHED, FAILED, ABORTED, UNSTARTED])
def test_an_attempt_ends_in_the_status_it_came_to(conn, store, to):
    [job] = insert(conn, "j")
    [lease] = claim(store, job)
    assert [] == store.settle([(lease, Outcome(to))])
    assert to == told(conn, "j")


@pytest.mark.parametrize("first", STATUSES)
@pytest.mark.parametrize("second", [FINISHED, FAILED, ABORTED, UNSTARTED])
def test_an_attempt_ends_once(conn, store, first, second):
    """No end of an attempt leaves a terminal status, or comes after the job was given away."""
    [job] = insert(conn, "j")
    [lease] = claim(store, job)
    if first == STARTED:
        assert [] == store.settle([(lease, Outcome(second))])
        return
    store.settle([(lease, Outcome(first))])
    before = conn.db().basis_t
    [(loser, error)] = store.settle([(lease, Outcome(second, facts=[{":order/number": "side effect"}]))])
    assert lease == loser
    assert isinstance(error, LeaseLost)
    assert before == conn.db().basis_t
    assert first == told(conn, "j")


def test_the_failure_is_kept_as_edn(conn, store):
    [lease] = claim(store, *insert(conn, "j"))
    store.settle([(lease, FAIL)])
    assert {":message": "boom"} == factstore.edn.read(told(conn, "j", ":job/failure"))
    assert Reason.EXCEPTION == told(conn, "j", ":job/reason")


def test_facts_commit_in_the_transaction_that_finishes_the_job(conn, store):
    [lease] = claim(store, *insert(conn, "j"))
    before = conn.db().basis_t
    facts = [{":order/number": "A-1", ":order/total": 5, ":order/of-job": lease.job}]
    assert [] == store.settle([(lease, Outcome(FINISHED, facts=facts))])
    assert before + 1 == conn.db().basis_t
    query = "[:find ?n ?tx :where [?o :order/number ?n ?tx] [?o :order/of-job ?j] [?j :job/status :job.status/finished ?tx]]"
    assert ["A-1"] == [number for number, _ in factstore.q(query, conn.db())]


def test_facts_that_are_refused_come_back_as_an_error_and_leave_the_job_held(conn, store):
    [lease] = claim(store, *insert(conn, "j"))
    [(_, error)] = store.settle([(lease, Outcome(FINISHED, facts=[{":no/such": 1}]))])
    assert isinstance(error, TransactError)
    assert ":no/such" in str(error)
    assert STARTED == told(conn, "j")
    assert [] == store.settle([(lease, FAIL)])


def test_a_compare_and_swap_of_a_handlers_own_that_fails_is_the_handlers_error(conn, store):
    conn.transact([{":order/number": "A-1", ":order/total": 5}])
    [lease] = claim(store, *insert(conn, "j"))
    facts = [[":db/cas", [":order/number", "A-1"], ":order/total", 4, 6]]
    [(_, error)] = store.settle([(lease, Outcome(FINISHED, facts=facts))])
    assert isinstance(error, CasFailed)
    assert STARTED == told(conn, "j")
    assert 5 == factstore.q("[:find ?t . :where [_ :order/total ?t]]", conn.db())


def test_two_handlers_may_use_the_same_tempid(conn, store):
    leases = claim(store, *insert(conn, "a", "b"))
    facts = [Outcome(FINISHED, facts=[{":db/id": "new", ":order/number": lease.id}]) for lease in leases]
    assert [] == store.settle(list(zip(leases, facts)))
    assert {("a",), ("b",)} == factstore.q("[:find ?n :where [_ :order/number ?n]]", conn.db())


def test_jobs_that_end_without_facts_share_a_transaction(conn, store):
    leases = claim(store, *insert(conn, "a", "b", "c"))
    before = conn.db().basis_t
    assert [] == store.settle([(lease, FINISH) for lease in leases])
    assert before + 1 == conn.db().basis_t


def test_one_lost_lease_does_not_lose_the_ends_of_the_others(conn, store):
    leases = claim(store, *insert(conn, "a", "b", "c"))
    store.abort("b", "no longer wanted")
    assert ["b"] == [lease.id for lease, _ in store.settle([(lease, FINISH) for lease in leases])]
    assert FINISHED == told(conn, "a")
    assert ABORTED == told(conn, "b")
    assert FINISHED == told(conn, "c")


# -- what an end does to others


def test_aborting_takes_down_direct_and_indirect_dependents_and_nobody_else(conn, store):
    graph = job_graph({**CHAIN, ":other": []})
    transact_graph(conn, graph)
    [a] = [id for id, job in graph.jobs.items() if job[":job/type"] == ":a"]
    assert store.abort(a, "wrong month")
    assert {":a": ABORTED, ":b": ABORTED, ":c": ABORTED, ":other": UNSTARTED} == statuses(conn)
    causes = factstore.q("[:find ?type ?cause :where [?j :job/cause ?c] [?c :job/type ?cause] [?j :job/type ?type]]", conn.db())
    assert {(":b", ":a"), (":c", ":a")} == causes


def test_a_failed_job_takes_down_what_can_no_longer_run_in_the_same_transaction(conn, store):
    """In Overseer they stay unstarted for ever."""
    transact_graph(conn, job_graph({**CHAIN, ":clean": after(":c", when="all-done")}))
    [a] = factstore.q("[:find [?j ...] :where [?j :job/type :a]]", conn.db())
    [lease] = claim(store, a)
    before = conn.db().basis_t
    store.settle([(lease, FAIL)])
    assert before + 1 == conn.db().basis_t
    assert {":a": FAILED, ":b": ABORTED, ":c": ABORTED, ":clean": UNSTARTED} == statuses(conn)


def test_aborting_does_not_touch_what_has_ended(conn, store):
    """Overseer flipped finished dependents to aborted."""
    transact_graph(conn, job_graph({":a": [], ":b": after(":a", when="any")}))
    by_type = dict(factstore.q("[:find ?type ?j :where [?j :job/type ?type]]", conn.db()))
    for type in (":a", ":b"):
        [lease] = claim(store, by_type[type])
        store.settle([(lease, FINISH)])
    assert not store.abort(by_type[":a"], "too late")
    assert {":a": FINISHED, ":b": FINISHED} == statuses(conn)


def test_aborting_a_running_job_makes_its_worker_lose_the_lease_and_nothing_worse(conn, store, other):
    """Overseer's worker ended its process when it came to finish."""
    [lease] = claim(store, *insert(conn, "j"))
    assert other.abort("j", "stop")
    [(_, error)] = store.settle([(lease, FINISH)])
    assert isinstance(error, LeaseLost)
    assert ABORTED == told(conn, "j")


def test_retrying_by_hand_brings_back_the_job_and_what_was_given_up_on_its_account(conn, store):
    transact_graph(conn, job_graph(CHAIN))
    [a] = factstore.q("[:find [?j ...] :where [?j :job/type :a]]", conn.db())
    [lease] = claim(store, a)
    store.settle([(lease, FAIL)])
    assert store.retry(a)
    assert {":a": UNSTARTED, ":b": UNSTARTED, ":c": UNSTARTED} == statuses(conn)
    assert set() == factstore.q("[:find ?j ?c :where [?j :job/cause ?c]]", conn.db())
    [again] = claim(store, a)
    assert 2 == again.attempt


@pytest.mark.parametrize("to", [UNSTARTED, STARTED, FINISHED])
def test_only_failed_and_aborted_jobs_are_retried_by_hand(conn, store, to):
    [job] = insert(conn, "j")
    if to != UNSTARTED:
        [lease] = claim(store, job)
        if to == FINISHED:
            store.settle([(lease, FINISH)])
    assert not store.retry("j")
    assert to == told(conn, "j")


# -- leases


def test_a_heartbeat_moves_the_expiry_of_a_held_lease(conn, store, clock):
    [lease] = claim(store, *insert(conn, "j"))
    clock.advance(10)
    assert [] == store.beat([lease], lease=LEASE)
    assert clock() + LEASE == told(conn, "j", ":job/lease-expires")


def test_only_a_job_whose_lease_ran_out_is_taken_and_it_runs_again(conn, store, other, clock):
    old, fresh = insert(conn, "old", "fresh")
    claim(store, old)
    clock.advance(20)
    claim(store, fresh)
    clock.advance(15)
    assert {"old"} == status.jobs_dead(conn.db(), at=clock())
    assert 1 == len(other.rescue(max_crashes=3))
    assert UNSTARTED == told(conn, "old")
    assert STARTED == told(conn, "fresh")
    assert Reason.LEASE_EXPIRED == told(conn, "old", ":job/reason")
    assert 0 == len(other.rescue(max_crashes=3))


def test_a_worker_back_from_the_dead_cannot_beat_finish_or_release_what_was_taken_from_it(conn, store, other, clock):
    [job] = insert(conn, "j")
    [zombie] = claim(store, job)
    clock.advance(31)
    assert 1 == len(other.rescue(max_crashes=3))
    rightful = None
    for _ in range(2):  # first while the job is unstarted again, then while somebody else runs it
        before = conn.db().basis_t
        assert [zombie] == store.beat([zombie], lease=LEASE)
        assert [zombie] == store.release([zombie])
        [(_, error)] = store.settle([(zombie, Outcome(FINISHED, facts=[{":order/number": "zombie"}]))])
        assert isinstance(error, LeaseLost)
        assert before == conn.db().basis_t
        rightful = rightful or claim(other, job)[0]
    assert [] == other.settle([(rightful, FINISH)])
    assert FINISHED == told(conn, "j")
    assert 2 == told(conn, "j", ":job/attempt")
    assert "w2" == told(conn, "j", ":job/worker")


def test_a_rescue_that_saw_an_older_lease_is_a_no_op(conn, store, other, clock):
    [lease] = claim(store, *insert(conn, "j"))
    clock.advance(31)
    seen = standing(conn.db())
    store.beat([lease], lease=LEASE)
    assert [] == other.rescue(seen, max_crashes=3)
    assert STARTED == told(conn, "j")


def test_a_rescue_during_which_the_lease_is_renewed_is_a_no_op(conn, store, other, clock, monkeypatch):
    """It comes between the last look at the lease and the commit."""
    [lease] = claim(store, *insert(conn, "j"))
    clock.advance(31)
    transact = conn.transact

    def slower(forms):
        monkeypatch.setattr(conn, "transact", transact)
        assert [] == store.beat([lease], lease=LEASE)
        return transact(forms)

    monkeypatch.setattr(conn, "transact", slower)
    assert [] == other.rescue(max_crashes=3)
    assert conn.transact == transact
    assert STARTED == told(conn, "j")


def test_a_rescue_takes_nothing_after_a_time_in_which_the_store_accepted_nothing(conn, store, other, clock):
    claim(store, *insert(conn, "j"))
    clock.advance(31)
    seen, before = standing(conn.db()), conn.db().basis_t
    assert None is other.rescue(seen, max_crashes=3, within=30.0)
    assert before == conn.db().basis_t
    assert other.could_renew(within=30.0)
    assert 1 == len(other.rescue(seen, max_crashes=3, within=30.0))
    assert UNSTARTED == told(conn, "j")


def test_a_rescue_that_comes_after_the_end_is_a_no_op(conn, store, other, clock):
    [lease] = claim(store, *insert(conn, "j"))
    clock.advance(31)
    seen = standing(conn.db())
    store.settle([(lease, FINISH)])
    assert [] == other.rescue(seen, max_crashes=3)
    assert FINISHED == told(conn, "j")


def test_a_job_that_takes_its_workers_with_it_ends_as_failed(conn, store, other, clock):
    transact_graph(conn, job_graph({":poison": [], ":after": [":poison"]}))
    [job] = factstore.q("[:find [?j ...] :where [?j :job/type :poison]]", conn.db())
    for _ in range(3):
        assert 1 == len(claim(store, job))
        clock.advance(120)
        assert 1 == len(other.rescue(max_crashes=3))
    assert {":poison": FAILED, ":after": ABORTED} == statuses(conn)
    [reason] = factstore.q("[:find [?r ...] :where [?j :job/type :poison] [?j :job/reason ?r]]", conn.db())
    assert Reason.WORKER_DIED == reason


def test_a_released_job_is_free_at_once_and_counts_as_no_failure(conn, store, other):
    [job] = insert(conn, "j")
    assert [] == store.release(claim(store, job))
    assert (UNSTARTED, Reason.INTERRUPTED, None, None) == tuple(
        told(conn, "j", name) for name in (":job/status", ":job/reason", ":job/failures", ":job/crashes")
    )
    assert 2 == claim(other, job)[0].attempt


# -- the law of all moves


def test_every_change_of_status_in_history_is_a_move(conn, store, other, clock):
    """Asked of the facts: for each retraction of a status there is an assertion of a permitted one in the same transaction."""
    jobs = insert(conn, "a", "b", "c", "d")
    leases = claim(store, *jobs)
    store.settle([(leases[0], FINISH), (leases[1], FAIL)])
    store.retry("b")
    clock.advance(60)
    other.rescue(max_crashes=3)
    other.abort("d", "enough")
    query = """[:find ?old ?new ?j ?tx :where [?j :job/status ?old ?tx false] [?j :job/status ?new ?tx true]]"""
    moves = factstore.q(query, conn.db().history())
    assert 10 == len(moves)
    assert [] == [(old, new) for old, new, _, _ in moves if new not in MOVES[old]]


@pytest.mark.parametrize("attempt", [0, 7, -3])
def test_a_job_that_was_asserted_with_an_attempt_number_is_claimed_as_the_next(conn, store, attempt):
    conn.transact([job_txn(":a", {":job/attempt": attempt}, id="j")])
    [job] = store.claim([conn.db().entid([":job/id", "j"])], lease=LEASE)
    assert attempt + 1 == job.attempt
    assert [] == store.settle([(job.lease, Outcome(FINISHED))])


RULES = [None, ":job.rule/all-done", ":job.rule/none-failed", ":job.rule/any", ":job.rule/no-such"]


@given(
    st.lists(st.tuples(st.sampled_from(RULES), st.sets(st.integers(0, 9), max_size=4)), min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([FINISHED, FAILED, ABORTED])), max_size=10),
)
@settings(deadline=None)
def test_an_end_takes_down_exactly_the_jobs_that_can_never_run_by_their_rules(jobs, ends):
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([job_txn(":a", {":job/rule": rule} if rule else {}, id=f"j{n}") for n, (rule, _) in enumerate(jobs)])
        eids = [conn.db().entid([":job/id", f"j{n}"]) for n in range(len(jobs))]
        edges = [[":db/add", eids[n], ":job/dep", eids[dep]] for n, (_, deps) in enumerate(jobs) for dep in deps if dep < n]
        conn.transact(edges)
        store = JobStore(conn, worker="w")
        for which, end in ends:
            job = eids[which % len(jobs)]
            if lookup.status(conn.db(), job) != UNSTARTED or lookup.readiness(conn.db(), job, {}) != READY:
                continue
            [held] = store.claim([job], lease=LEASE)
            assert [] == store.settle([(held.lease, Outcome(end))])
            db = conn.db()
            assert [] == [eid for eid in eids if lookup.status(db, eid) == UNSTARTED and lookup.readiness(db, eid) == DOOMED]
        db = conn.db()
        aborted = [eid for eid in eids if lookup.value(db, eid, ":job/cause") is not None]
        assert all(lookup.readiness(db, eid) == DOOMED for eid in aborted)


def test_of_more_parents_than_few_the_worker_keeps_count_and_gives_the_job_up(conn):
    parents = [job_txn(":boom", id=f"p{n}") for n in range(150)]
    conn.transact([*parents, job_txn(":join", {":job/dep": [f"p{n}" for n in range(150)], ":job/rule": ":job.rule/any"}, id="join")])

    def boom(job):
        raise ValueError("none of them ends well")

    drain(conn, {":boom": boom, ":join": lambda job: None})
    assert ABORTED == told(conn, "join")
    assert Reason.PARENT == told(conn, "join", ":job/reason")
