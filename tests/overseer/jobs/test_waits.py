"""Jobs that wait: for a query, for a person, and steps whose results are kept."""

from __future__ import annotations

import asyncio
import pickle
from datetime import timedelta

import pytest

import factstore
from factstore import TransactError
from overseer import (
    Job,
    JobRef,
    JobStore,
    LeaseLost,
    OverseerError,
    Result,
    Retry,
    WaitExpired,
    Worker,
    install,
    job_txn,
    questions,
    retention,
    revert,
    status,
    when,
)
from overseer.jobs.states import FAILED, FINISHED, UNSTARTED, Outcome
from overseer.jobs.waits import Waiting
from overseer.reverting import moved_on
from overseer.testing import drain
from tests.overseer.conftest import BUSINESS

TOTAL = "[:find ?total . :in $ ?number :where [?o :order/number ?number] [?o :order/total ?total]]"


def waiting(within="1h", runs=None):
    """Return a handler that waits for the total of the order x."""

    def handler(job: Job):
        if runs is not None:
            runs.append(job.attempt)
        return Result(job.wait(when(TOTAL, "x", within=within)))

    return handler


def wait_and_catch(job: Job):
    try:
        return Result(job.wait(when(TOTAL, "x", within="1h")))
    except Exception:
        return Result(0)


def total(number, value):
    return [{":order/number": number, ":order/total": value}]


def result(conn, id="w"):
    text = factstore.q("[:find ?r . :in $ ?id :where [?j :job/id ?id] [?j :job/result ?r]]", conn.db(), id)
    return None if text is None else factstore.edn.read(text)


def status_of(conn, id="w"):
    return factstore.q("[:find ?s . :in $ ?id :where [?j :job/id ?id] [?j :job/status ?s]]", conn.db(), id)


def claim(conn, id):
    [job] = JobStore(conn, worker="w").claim([conn.db().entid([":job/id", id])], lease=timedelta(seconds=30))
    return job


# -- a query


def test_an_answer_that_came_before_is_an_answer(conn):
    conn.transact(total("x", 5))
    conn.transact([job_txn(":w", id="w")])
    runs = []
    drain(conn, {":w": waiting(runs=runs)})
    assert ([1], 5) == (runs, result(conn))


def test_the_log_of_an_attempt_that_begins_to_wait_says_until_when_at_most_and_for_what(conn, clock, caplog):
    caplog.set_level("INFO")
    conn.transact([job_txn(":w", id="w")])
    drain(conn, {":w": waiting()})
    [line] = [record.message for record in caplog.records if "attempt 1" in record.message]
    assert line.startswith(":w w attempt 1 ended: waits until 2026-01-01T01:00:00+00:00 for the query ")


def test_a_job_waits_without_a_slot_until_the_query_holds(conn, clock):
    conn.transact([job_txn(":w", id="w"), job_txn(":other", id="o")])
    runs = []
    handlers = {":w": waiting(runs=runs), ":other": lambda job: None}
    assert 2 == drain(conn, handlers)
    assert UNSTARTED == status_of(conn)
    assert 0 == drain(conn, handlers)
    why = status.explain(conn.db(), "w", at=clock()).why
    assert why.startswith("it waits for the query ") and "until 2026-01-01T01:00:00+00:00" in why
    assert why == JobRef(conn, "w", str).explain().why, "by the clock of the connection"
    conn.transact(total("y", 4))
    assert 0 == drain(conn, handlers)
    conn.transact(total("x", 5))
    assert 1 == drain(conn, handlers)
    assert ([1, 2], 5) == (runs, result(conn))
    assert ["unstarted", "started", "unstarted", "started", "finished"] == [step.status.name for step in status.history(conn.db(), "w")]
    assert "wait" == status.attempts(conn.db(), "w")[0].reason.name


def test_every_attempt_gets_the_answer_of_the_same_database(conn):
    conn.transact([job_txn(":w", id="w")])
    seen = []

    def handler(job):
        seen.append(job.wait(when(TOTAL, "x", within="1h")))
        if len(seen) < 3:
            conn.transact(total("x", 7))
            raise ValueError

    handlers = {":w": {"process": handler, "retry": Retry(max_attempts=5)}}
    drain(conn, handlers)
    conn.transact(total("x", 5))
    JobStore(conn, worker="waker").wake()
    conn.transact([[":db/retract", [":order/number", "x"], ":order/total", 5]])
    drain(conn, handlers, wait=True)
    assert [5, 5, 5] == seen


def test_a_wait_ends_at_its_deadline_which_the_next_attempt_does_not_move(conn, clock):
    conn.transact([job_txn(":w", id="w")])
    drain(conn, {":w": waiting("60s")})
    clock.advance(59)
    assert 0 == drain(conn, {":w": waiting("60s")})
    clock.advance(2)
    assert 1 == drain(conn, {":w": waiting("60s")})
    assert "failed" == status_of(conn).name
    assert ":w w waited in vain until 2026-01-01T00:01:00+00:00 for the query" in status.explain(conn.db(), "w").why


def test_a_handler_can_continue_after_the_deadline(conn):
    conn.transact([job_txn(":w", id="w")])

    def handler(job):
        try:
            return Result(job.wait(when(TOTAL, "x", within="60s")))
        except WaitExpired as late:
            return Result([late.job, late.code])

    drain(conn, {":w": handler}, wait=True)
    assert ["w", ":job.error/wait-expired"] == result(conn)


def test_a_fact_after_the_deadline_and_before_the_attempt_is_an_answer(conn, clock):
    conn.transact([job_txn(":w", id="w")])
    drain(conn, {":w": waiting("60s")})
    clock.advance(100)
    conn.transact(total("x", 5))
    drain(conn, {":w": waiting("60s")})
    assert 5 == result(conn)


@pytest.mark.parametrize("executor", ["threads", "processes", "asyncio"])
def test_a_handler_that_catches_the_end_of_its_attempt_fails_with_the_reason(tmp_path, executor):
    with factstore.connect(tmp_path / "jobs.facts") as conn:
        install(conn)
        conn.transact(BUSINESS)
        conn.transact([job_txn(":w", id="w")])
        Worker(conn, {":w": wait_and_catch}, executor=executor).run(until_idle=True)
        assert "failed" == status_of(conn).name
        assert "caught the exception by which job.wait ends the attempt: catch WaitExpired" in status.explain(conn.db(), "w").why
        assert result(conn) is None


def test_several_waits_of_one_job_are_answered_one_after_the_other(conn):
    conn.transact([job_txn(":w", id="w")])

    def handler(job):
        return Result([job.wait(when(TOTAL, number, within="1h")) for number in ("x", "y")])

    drain(conn, {":w": handler})
    for number, value in (("y", 2), ("x", 1)):
        conn.transact(total(number, value))
        drain(conn, {":w": handler})
    assert [1, 2] == result(conn)
    waited = "[:find ?key :where [?j :job/waits ?w] [?w :wait/key ?key] [?w :wait/t _]]"
    assert 2 == len(factstore.q(waited, conn.db()))
    assert set() == factstore.q("[:find ?w :where [_ :job/wait ?w]]", conn.db())


def test_waiting_counts_neither_as_a_failure_nor_as_a_fault(conn):
    conn.transact([job_txn(":w", id="w")])
    drain(conn, {":w": waiting()})
    about = factstore.pull(conn.db(), "[*]", [":job/id", "w"])
    assert {":job/failures", ":job/faults", ":job/failure"}.isdisjoint(about)


def test_a_query_that_fails_in_a_waker_keeps_the_job_waiting_and_is_logged_once(conn, caplog):
    conn.transact([job_txn(":w", id="w")])
    drain(conn, {":w": waiting()})
    wait = factstore.q("[:find ?w . :where [_ :job/wait ?w]]", conn.db())
    store = JobStore(conn, worker="waker")
    for text in ("[", "3", "[]", '["[:find ?x :where [(none-such 1) ?x]]"]', '["[:find"]'):
        conn.transact([[":db/add", wait, ":wait/for", text]])
        assert [] == store.wake()
    assert 1 == caplog.text.count("the query that w waits for failed")
    assert UNSTARTED == status_of(conn)


def let_expire(conn, clock):
    """Let the job w fail at the deadline of its wait of a minute, and look at no wait after that."""
    drain(conn, {":w": waiting("60s")})
    clock.advance(61)
    job = claim(conn, "w")
    with pytest.raises(WaitExpired):
        waiting("60s")(job)
    JobStore(conn, worker="w").settle([(job.lease, Outcome(FAILED))])


def retry_alone(conn):
    assert JobStore(conn, worker="ann").retry("w")


def retry_in_bulk(conn):
    assert ["w"] == JobStore(conn, worker="ann").retry_all(["w"])


@pytest.mark.parametrize("is_woken", [False, True], ids=["", "after a worker looked at the waits"])
@pytest.mark.parametrize("retry", [retry_alone, retry_in_bulk])
def test_a_job_whose_wait_expired_waits_again_when_it_is_retried_by_hand(conn, clock, retry, is_woken):
    conn.transact([job_txn(":w", id="w")])
    let_expire(conn, clock)
    if is_woken:
        assert [] == JobStore(conn, worker="waker").wake()
    retry(conn)
    began = clock()
    drain(conn, {":w": waiting("60s")})
    assert UNSTARTED == status_of(conn)
    assert f"until {(began + timedelta(seconds=60)).isoformat()}" in status.explain(conn.db(), "w", at=clock()).why
    conn.transact(total("x", 5))
    drain(conn, {":w": waiting("60s")})
    assert 5 == result(conn)


def test_a_retry_by_hand_keeps_the_answer_of_a_wait_that_held(conn):
    conn.transact([*total("x", 5), job_txn(":w", id="w")])

    def handler(job):
        first = job.wait(when(TOTAL, "x", within="60s"))
        return Result([first, job.wait(when(TOTAL, "y", within="60s"))])

    drain(conn, {":w": handler}, wait=True)
    conn.transact([*total("x", 6), *total("y", 7)])
    retry_alone(conn)
    drain(conn, {":w": handler})
    assert [5, 7] == result(conn)


def test_the_open_wait_of_a_job_that_has_failed_is_removed(conn, clock):
    conn.transact([job_txn(":w", id="w")])
    let_expire(conn, clock)
    store = JobStore(conn, worker="ann")
    assert [] == store.wake()
    assert store.wake() is None
    assert "failed" == status_of(conn).name


@pytest.mark.parametrize("in_bulk", [False, True])
def test_a_job_that_waits_is_aborted_and_waits_on_if_that_is_reverted(conn, in_bulk):
    conn.transact([job_txn(":w", id="w")])
    drain(conn, {":w": waiting()})
    store = JobStore(conn, worker="ann")
    store.abort_all(["w"], "no longer needed") if in_bulk else store.abort("w", "no longer needed")
    aborted = conn.db().basis_t
    assert store.wake() is None
    conn.transact(revert(conn.db(), aborted, by="ann"))
    assert 0 == drain(conn, {":w": waiting()})
    conn.transact(total("x", 5))
    drain(conn, {":w": waiting()})
    assert 5 == result(conn)


def test_a_job_that_waits_can_be_pruned_with_its_waits_after_it_ended(conn, clock):
    conn.transact([*total("x", 5), job_txn(":w", id="w")])
    drain(conn, {":w": lambda job: Result((job.once("a", lambda: 1), job.wait(when(TOTAL, "x", within="1h"))))})
    clock.advance(10)
    assert 1 == retention.prune(conn, retention.Rule(timedelta(seconds=1)), now=clock()).jobs
    assert set() == factstore.q("[:find ?e :where (or [?e :wait/key _] [?e :step/key _])]", conn.db())


def test_a_worker_wakes_a_job_that_waits(conn):
    conn.transact([job_txn(":w", id="w"), job_txn(":arrive", id="a")])

    def arrive(job):
        db = conn.db()
        while not factstore.q("[:find ?w . :where [_ :job/wait ?w]]", db):
            db = conn.wait(db.basis_t, 30)
        return total("x", 5)

    Worker(conn, {":w": waiting(), ":arrive": arrive}, concurrency=2).run(until_idle=True)
    assert 5 == result(conn)
    assert ["wait", "finished"] == [(one.reason or one.status).name for one in status.attempts(conn.db(), "w")]


@pytest.mark.parametrize(
    ("arguments", "options", "code"),
    [
        ((TOTAL, object()), {"within": "1h"}, ":job.error/bad-wait"),
        ((TOTAL, 1), {"within": "soon"}, ":job.error/bad-argument"),
        ((TOTAL, 1), {"within": timedelta(0)}, ":job.error/bad-argument"),
        ((TOTAL, 1), {"within": "1h", "name": ""}, ":job.error/bad-name"),
        ((TOTAL, 1), {"within": "1h", "name": 3}, ":job.error/bad-name"),
    ],
)
def test_a_bad_condition_is_rejected_where_it_is_made(arguments, options, code):
    with pytest.raises(OverseerError) as caught:
        when(*arguments, **options)
    assert code == caught.value.code


def test_a_wait_that_is_longer_than_a_century_is_one_of_a_century():
    assert timedelta(days=36_525) == when(TOTAL, within=timedelta.max).within


def test_a_query_may_be_built_and_may_hold_with_the_value_false(conn):
    conn.transact([*total("x", 0), job_txn(":w", id="w")])
    query = [":find", "?is", ".", ":where", ["_", ":order/total", "?t"], [["=", "?t", 1], "?is"]]
    drain(conn, {":w": lambda job: Result(job.wait(when(query, within="1h")))})
    assert (FINISHED, False) == (status_of(conn), result(conn))


def test_the_end_of_a_waiting_attempt_can_be_pickled(clock):
    error = Waiting("waits", clock(), [{":a": 1}])
    again = pickle.loads(pickle.dumps(error))
    assert (error.message, error.until, error.forms, UNSTARTED) == (again.message, again.until, again.forms, again.status)


# -- steps


def test_a_step_runs_once_and_every_attempt_gets_its_result(conn):
    conn.transact([job_txn(":w", id="w")])
    charges, seen = [], []

    def handler(job):
        seen.append(job.once("charge", lambda: charges.append(job.attempt) or {"id": len(charges), "parts": (1, [2])}))
        if job.attempt < 3:
            raise ValueError

    drain(conn, {":w": {"process": handler, "retry": Retry(max_attempts=5)}}, wait=True)
    assert [1] == charges
    assert [{"id": 1, "parts": (1, [2])}] * 3 == seen
    assert {("w/charge", 1)} == factstore.q("[:find ?key ?n :where [?s :step/key ?key] [?s :step/attempt ?n]]", conn.db())


def test_a_step_without_a_result_is_kept_too_and_one_that_raises_is_not(conn):
    conn.transact([job_txn(":w", id="w")])
    job = claim(conn, "w")
    calls = []
    for _ in range(2):
        assert job.once("a", lambda: calls.append("a")) is None
        with pytest.raises(ZeroDivisionError):
            job.once("b", lambda: calls.append("b") or 1 / 0)
    assert ["a", "b", "b"] == calls


def test_an_attempt_that_lost_its_job_neither_runs_nor_keeps_a_step(conn):
    conn.transact([job_txn(":w", id="w")])
    job = claim(conn, "w")

    def step():
        JobStore(conn, worker="w").settle([(job.lease, Outcome(UNSTARTED))])

    with pytest.raises(LeaseLost):
        job.once("a", step)
    with pytest.raises(LeaseLost):
        job.once("a", lambda: pytest.fail("it ran"))
    assert claim(conn, "w").once("a", lambda: 2) == 2


def test_a_step_of_a_coroutine_function_is_kept(conn):
    conn.transact([job_txn(":w", id="w")])
    job, calls = claim(conn, "w"), []

    async def fetch():
        calls.append(1)
        return "page"

    async def handler():
        return [await job.aonce("fetch", fetch), await job.aonce("fetch", fetch)]

    assert (["page", "page"], [1]) == (asyncio.run(handler()), calls)


@pytest.mark.parametrize(
    ("name", "value", "code"), [("a", object(), ":job.error/bad-result"), ("", 1, ":job.error/bad-name"), (3, 1, ":job.error/bad-name")]
)
def test_a_step_that_cannot_be_kept_is_rejected(conn, name, value, code):
    conn.transact([job_txn(":w", id="w")])
    with pytest.raises(OverseerError) as caught:
        claim(conn, "w").once(name, lambda: value)
    assert code == caught.value.code


# -- questions


def ask(job: Job):
    return Result(job.ask("Refund 900?", ["yes", "no"], within="7d"))


def test_a_person_answers_and_the_history_has_the_name_and_the_time(conn, clock):
    conn.transact([job_txn(":w", id="w")])
    drain(conn, {":w": ask})
    [question] = questions.unanswered(conn.db())
    assert ("w", ":w", "Refund 900?", ("yes", "no"), clock(), clock() + timedelta(days=7)) == question
    assert "an answer to the question 'Refund 900?'" in status.explain(conn.db(), "w", at=clock()).why
    clock.advance(60)
    conn.transact(questions.answer("w", "no", by="ann"))
    assert [] == questions.unanswered(conn.db())
    drain(conn, {":w": ask})
    assert "no" == result(conn)
    assert [("Refund 900?", "no", "ann", clock())] == questions.answers(conn.db(), "w")


def test_an_answer_is_rejected_unless_it_is_the_first_and_one_of_the_options(conn):
    conn.transact([job_txn(":w", id="w")])
    for code, why in ((":job.error/no-question", "'w' has no open question"),):
        with pytest.raises(TransactError, match=why) as caught:
            conn.transact(questions.answer("w", "yes", by="ann"))
        assert code == caught.value.code
    drain(conn, {":w": ask})
    with pytest.raises(TransactError, match=r"the answers to 'Refund 900\?' are yes, no, got 'perhaps'") as caught:
        conn.transact(questions.answer("w", "perhaps", by="ann"))
    assert ":job.error/bad-answer" == caught.value.code
    conn.transact(questions.answer("w", "yes", by="ann"))
    with pytest.raises(TransactError, match="was answered already: 'yes'"):
        conn.transact(questions.answer("w", "no", by="bob"))
    drain(conn, {":w": ask})
    for job in ("w", "none-such"):
        with pytest.raises(TransactError, match="has no open question"):
            conn.transact(questions.answer(job, "no", by="bob"))


def test_a_waiting_attempt_says_which_answer_or_query_it_waits_for(conn):
    conn.transact([job_txn(":w", id="w"), job_txn(":w", id="v")])
    with pytest.raises(Waiting, match=r"^waits until 2026-\S+ for an answer to the question 'Refund 900\?'$"):
        claim(conn, "w").ask("Refund 900?", ["yes", "no"], within="7d")
    with pytest.raises(Waiting, match=r"^waits until 2026-\S+ for the query '.*' to hold$"):
        waiting("60s")(claim(conn, "v"))


def test_a_question_without_options_takes_any_text_and_expires(conn):
    conn.transact([job_txn(":w", id="w"), job_txn(":w", id="v")])
    handlers = {":w": lambda job: Result(job.ask("Which?", within="1h"))}
    drain(conn, handlers)
    conn.transact(questions.answer("v", "the second", by="ann"))
    drain(conn, handlers, wait=True)
    assert ("the second", "failed") == (result(conn, "v"), status_of(conn).name)
    why = r"'w' has no open question: it ended without an answer to 'Which\?', and asks again if it is retried$"
    with pytest.raises(TransactError, match=why):
        conn.transact(questions.answer("w", "the first", by="ann"))
    retry_alone(conn)
    drain(conn, handlers)
    conn.transact(questions.answer("w", "the first", by="ann"))
    drain(conn, handlers)
    assert "the first" == result(conn, "w")


def asked_and_answered(conn):
    """Let the job w ask, answer it, wake it, and return the transactions of the answer and of the waker."""
    conn.transact([job_txn(":w", id="w")])
    drain(conn, {":w": ask})
    answered = conn.transact(questions.answer("w", "yes", by="ann")).t
    assert [conn.db().entid([":job/id", "w"])] == JobStore(conn, worker="waker").wake()
    return answered, conn.db().basis_t


def test_a_job_whose_waking_is_reverted_waits_again_and_is_woken_by_the_same_answer(conn):
    _, woken = asked_and_answered(conn)
    before = conn.db().as_of(woken - 1)
    conn.transact(revert(conn.db(), woken, by="ann"))
    wait = conn.db().entid([":wait/key", "w/Refund 900?"])
    assert factstore.pull(before, "[*]", wait) == factstore.pull(conn.db(), "[*]", wait)
    assert set() == status.jobs_ready(conn.db())
    assert 1 == drain(conn, {":w": ask})
    assert "yes" == result(conn)


@pytest.mark.parametrize("undo", [revert, factstore.revert])
def test_a_job_whose_answer_is_reverted_too_can_be_answered_again(conn, undo):
    answered, woken = asked_and_answered(conn)
    for t in (woken, answered):
        conn.transact(undo(conn.db(), t))
    assert ["w"] == [question.job for question in questions.unanswered(conn.db())]
    assert 0 == drain(conn, {":w": ask})
    conn.transact(questions.answer("w", "no", by="ann"))
    assert 1 == drain(conn, {":w": ask})
    assert "no" == result(conn)


def test_the_answer_of_a_job_that_a_worker_woke_is_not_reverted(conn):
    answered, _ = asked_and_answered(conn)
    assert ({"w"}, []) == (moved_on(conn.db(), answered), revert(conn.db(), answered))
    drain(conn, {":w": ask})
    assert "yes" == result(conn)


def test_a_job_that_waits_in_a_wait_that_held_runs(conn):
    """Older versions reverted such a waking without the fact of the wait, which anybody can assert, too."""
    conn.transact([job_txn(":w", id="w")])
    drain(conn, {":w": ask})
    t = conn.transact(questions.answer("w", "yes", by="ann")).t
    conn.transact([{":wait/key": "w/Refund 900?", ":wait/t": t}])
    assert 1 == drain(conn, {":w": ask})
    assert "yes" == result(conn)


def test_a_step_whose_transaction_is_reverted_runs_again(conn):
    conn.transact([job_txn(":w", id="w")])
    job, calls = claim(conn, "w"), []
    for _ in range(2):
        job.once("a", lambda: calls.append(1))
        conn.transact(revert(conn.db(), conn.db().basis_t))
    assert [1, 1] == calls


@pytest.mark.parametrize(
    ("text", "options"), [(3, []), ("", []), ("x", "yes"), ("x", b"yes"), ("x", [1]), ("x", [""]), ("x", None), ("x", iter(["yes"]))]
)
def test_a_bad_question_is_rejected(conn, text, options):
    conn.transact([job_txn(":w", id="w")])
    with pytest.raises(OverseerError) as caught:
        claim(conn, "w").ask(text, options, within="1h")
    assert ":job.error/bad-question" == caught.value.code


@pytest.mark.parametrize("arguments", [("w", "", "ann"), ("w", "yes", ""), (3, "yes", "ann")])
def test_an_answer_needs_a_text_and_a_name(arguments):
    job, value, by = arguments
    with pytest.raises(OverseerError, match="are texts"):
        questions.answer(job, value, by=by)


def test_there_are_no_questions_in_an_empty_store():
    with factstore.connect("memory:") as conn:
        assert [] == questions.unanswered(conn.db())
        assert [] == questions.answers(conn.db(), 0)
