"""Handlers: shapes, stages, wrapping, and what they say by returning and raising."""

from __future__ import annotations

import pytest

import factstore
from factstore import Keyword
from overseer import HandlerError, Retry, Verdict, Worker, abort, abort_silent, fault, harness
from overseer.handler import check_handlers, facts_of, failure_info, invoke, result_of, retry_of, serializable, status_of
from overseer.jobs.job import Job
from overseer.jobs.states import ABORTED, FAILED, UNSTARTED, Lease
from overseer.testing import drain


def a_job(**attributes):
    lease = Lease(job=1, id="j", type=Keyword(":foo"), attempt=1, token="t", worker="w")
    return Job(lease, {f":{key}": value for key, value in attributes.items()}, db=None, conn=None)


def three_stages(log):
    return {
        "pre_process": lambda job: log.append("pre"),
        "process": lambda job: 5,
        "post_process": lambda job, result: result * 3,
    }


def counting(calls):
    def wrapper(stage):
        def counted(*arguments):
            calls.append("wrapper")
            return stage(*arguments)

        return counted

    return wrapper


# -- shapes


def test_a_function_and_a_mapping_of_stages_give_the_same_result():
    log = []
    assert 15 == invoke(lambda job: 15, a_job())
    assert 15 == invoke(three_stages(log), a_job())
    assert ["pre"] == log


def test_what_pre_process_returns_is_ignored():
    assert 1 == invoke({"pre_process": lambda job: 99, "process": lambda job: job[":n"]}, a_job(n=1))


def test_no_handlers_at_all_are_refused_and_the_message_says_what_is_expected(conn):
    for use in (check_handlers, lambda handlers: Worker(conn, handlers), lambda handlers: drain(conn, handlers)):
        with pytest.raises(HandlerError, match=r"non-empty mapping from job type to handler, such as .*, got {}$") as caught:
            use({})
        assert ":job.error/bad-handler" == caught.value.code
        assert {} == caught.value.handlers


def test_handlers_that_could_not_be_called_are_refused_before_any_job_runs_all_at_once():
    c, d = {"process": len, "post_process": 3}, {"process": len, "proccess": len}
    bad = {":a": 5, ":b": {"pre_process": len}, ":c": c, ":d": d, ":ok": len}
    with pytest.raises(HandlerError) as caught:
        check_handlers(bad)
    assert {":a", ":b", ":c", ":d"} == set(caught.value.handlers)
    assert "a function or a mapping" in caught.value.handlers[":a"]
    assert "a handler mapping has a 'process' function" in caught.value.handlers[":b"]
    assert "post_process is not a function" == caught.value.handlers[":c"]
    assert "proccess" in caught.value.handlers[":d"]


def test_handlers_may_be_named_without_their_colon():
    assert {":load"} == set(check_handlers({"load": len}))


def test_a_mapping_may_bring_its_retry_policy():
    policy = Retry(max_attempts=3)
    assert policy == retry_of({"process": len, "retry": policy})
    assert 1 == retry_of(len).max_attempts
    with pytest.raises(HandlerError, match="its retry is a Retry"):
        check_handlers({":a": {"process": len, "retry": 3}})


# -- harness


def test_wrapping_a_function_runs_wrapper_and_handler_once_and_gives_a_mapping():
    calls = []
    wrapped = harness(lambda job: calls.append("handler") or "result", counting(calls))
    assert "result" == invoke(wrapped, a_job())
    assert ["wrapper", "handler"] == calls
    assert {"process"} == set(wrapped)


def test_wrapping_pre_process_of_a_function_adds_that_stage_and_leaves_the_result():
    calls = []
    wrapped = harness(lambda job: "result", counting(calls), "pre_process")
    assert {"pre_process", "process"} == set(wrapped)
    assert "result" == invoke(wrapped, a_job())
    assert ["wrapper"] == calls


@pytest.mark.parametrize("stage", ["pre_process", "process", "post_process"])
def test_wrapping_any_stage_of_a_mapping_runs_wrapper_and_stage_once(stage):
    calls, log = [], []
    wrapped = harness(three_stages(log), counting(calls), stage)
    assert 15 == invoke(wrapped, a_job())
    assert ["wrapper"] == calls
    assert ["pre"] == log


def test_wrapping_an_absent_post_process_still_runs_the_wrapper_and_keeps_the_result():
    """In Overseer 0.9 the job took the place of the result."""
    calls = []
    assert "result" == invoke(harness({"process": lambda job: "result"}, counting(calls), "post_process"), a_job())
    assert ["wrapper"] == calls


def test_wrappers_nest_the_last_outermost():
    calls = []

    def naming(name):
        return lambda stage: lambda job: calls.append(name) or stage(job)

    invoke(harness(harness(lambda job: None, naming("inner")), naming("outer")), a_job())
    assert ["outer", "inner"] == calls


def test_wrapping_a_stage_that_does_not_exist_is_refused():
    with pytest.raises(HandlerError, match="pre_process, process, post_process"):
        harness(len, len, "during")


def test_wrapping_keeps_the_retry_policy():
    policy = Retry(max_attempts=2)
    assert policy == retry_of(harness({"process": len, "retry": policy}, lambda f: f))


# -- what an end means


@pytest.mark.parametrize(("end", "status", "suppress"), [(abort, ABORTED, False), (abort_silent, ABORTED, True), (fault, UNSTARTED, True)])
def test_a_handler_chooses_its_jobs_status_by_raising(end, status, suppress):
    with pytest.raises(Verdict, match="no such customer") as caught:
        end("no such customer")
    assert status == status_of(caught.value)
    assert suppress == caught.value.suppress


def test_any_other_error_fails_the_job_assertions_and_exits_too():
    assert FAILED == status_of(ValueError("boom")) == status_of(AssertionError()) == status_of(SystemExit(1))


def test_failure_info_tells_class_message_and_place():
    try:
        raise ValueError("boom")
    except ValueError as error:
        info = failure_info(error)
    assert {":reason": ":system/exception", ":exception": "ValueError", ":message": "boom"} == {
        k: v for k, v in info.items() if k not in (":at", ":traceback")
    }
    assert "test_handlers.py" in info[":at"]
    assert info == factstore.edn.read(factstore.edn.write(info))


def test_failure_info_keeps_the_data_that_can_be_written_and_drops_the_rest():
    error = HandlerError(":job.error/bad-handler", "no", good=1, bad=object())
    assert {"good": 1} == failure_info(error)[":data"]
    assert {"a": [1, 2]} == serializable({"a": [1, 2], "b": len, len: "b"})


def test_an_error_that_cannot_even_say_what_it_is_still_fails_its_job_only():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    assert "is unavailable" in failure_info(Broken())[":message"]
    assert "?" in failure_info(ValueError("\ud800"))[":message"]


def test_a_list_that_is_returned_is_tx_data_after_what_was_asserted_on_the_way():
    job = a_job()
    job.assert_([":db/add", "a", ":n", 1], {":n": 2})
    assert [[":db/add", "a", ":n", 1], {":n": 2}, {":n": 3}] == facts_of([{":n": 3}], job)


@pytest.mark.parametrize("result", [None, 5, "text", True, 2.5, b"bytes", a_job()])
def test_a_single_value_that_is_returned_is_a_result_and_no_fact(result):
    assert [] == facts_of(result, a_job())
    kept = result_of(result, a_job())
    assert (None if result is None or isinstance(result, Job) else result) == (None if kept is None else factstore.edn.read(kept))


@pytest.mark.parametrize("text", ["[]", " [[:db/add 1 :a 2]]", "{:a 1}"])
def test_transaction_data_as_text_that_is_returned_fails_the_job(text):
    with pytest.raises(HandlerError, match="returned text that looks like transaction data, which would not be kept") as caught:
        facts_of(text, a_job())
    assert ":job.error/bad-return" == caught.value.code


def test_a_single_value_that_edn_cannot_represent_fails_the_job():
    with pytest.raises(HandlerError, match="cannot be kept as EDN") as caught:
        result_of(object(), a_job())
    assert ":job.error/bad-result" == caught.value.code


@pytest.mark.parametrize(
    "result",
    [{":a": 1}, {1, 2}, frozenset(), (n for n in ()), map(len, []), zip([]), filter(None, [])],
    ids=lambda value: type(value).__name__,
)
def test_a_collection_that_is_no_tx_data_is_rejected_for_it_would_be_lost(result):
    with pytest.raises(HandlerError) as caught:
        facts_of(result, a_job())
    assert ":job.error/bad-return" == caught.value.code
    assert "j" == caught.value.job
    assert type(result).__name__ == caught.value.returned


def test_a_job_reads_like_a_mapping_of_its_attributes():
    job = a_job(n=1, m=2)
    assert 1 == job[":n"]
    assert 2 == job[":m"]
    assert job.get(":k") is None
    assert {":n": 1, ":m": 2} == dict(job)
    assert "overseer/j" == job.key
    assert "j" == job.id
    assert 1 == job.eid
    assert ":foo" == job.type
    assert 1 == job.attempt
