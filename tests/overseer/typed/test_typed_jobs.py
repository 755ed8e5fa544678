"""Typed jobs: their transactions are those of `job_txn`, and their arguments and results come back as their types."""

from __future__ import annotations

import asyncio
import pickle
from datetime import UTC, datetime, timedelta
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import Attr, edn
from overseer import (
    App,
    Facts,
    GraphError,
    HandlerError,
    Job,
    JobFailed,
    NotEnded,
    OverseerError,
    Result,
    Retry,
    Worker,
    graph_txns,
    install,
    job_txn,
    validate_graph_handlers,
)
from overseer.jobs.graph import Graph
from overseer.jobs.states import ABORTED, FINISHED, UNSTARTED
from overseer.testing import drain
from tests.overseer.typed import shop

app = App()


@app.job(type="test/all", queue="q")
def everything(
    job: Job,
    number: int,
    text: str,
    names: set[str],
    lines: list[str],
    at: datetime | None = None,
    rate: float = 1.0,
    table: dict[str, list[int]] | None = None,
) -> tuple[int, str, set[str], list[str], datetime | None, float, dict[str, list[int]] | None]:
    return number, text, names, lines, at, rate, table


ARGUMENTS = st.fixed_dictionaries(
    {
        "number": st.integers(-(2**63), 2**63 - 1),
        "text": st.text(max_size=9),
        "names": st.sets(st.text(max_size=2), max_size=3),
        "lines": st.lists(st.text(max_size=2), max_size=3),
    },
    optional={
        "at": st.none() | st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=0)),
        "rate": st.floats(allow_nan=False),
        "table": st.none() | st.dictionaries(st.text(max_size=2), st.lists(st.integers(0, 9), max_size=2), max_size=2),
    },
)
OPTIONS = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=5)},
    optional={
        "queue": st.sampled_from(["a", ":b"]),
        "priority": st.integers(0, 9),
        "partition": st.text(max_size=2),
        "run_at": st.just(datetime(2026, 1, 1, tzinfo=UTC)),
        "timeout": st.just(timedelta(seconds=5)),
    },
)
FORMS = {
    "number": int,
    "text": str,
    "names": lambda names: sorted(names, key=repr),
    "lines": edn.write,
    "at": lambda at: at,
    "rate": float,
    "table": edn.write,
}


@given(ARGUMENTS, OPTIONS)
def test_the_assertion_of_a_typed_job_is_that_of_job_txn(arguments, options):
    facts = {f":test.all/{name}": FORMS[name](value) for name, value in arguments.items() if value is not None}
    expected = job_txn(":test/all", {name: value for name, value in facts.items() if value != []}, **{"queue": "q", **options})
    assert expected == everything.options(**options).txn(**arguments)
    assert expected == everything.options(**options).txn(arguments["number"], **{k: v for k, v in arguments.items() if k != "number"})


@given(ARGUMENTS)
def test_arguments_and_results_come_back_as_their_types(arguments):
    with factstore.connect("memory:") as conn:
        ref = everything.enqueue(conn, **arguments)
        drain(conn, app)
        expected = {"at": None, "rate": 1.0, "table": None, **arguments}
        assert tuple(expected[name] for name in FORMS) == ref.result()


def test_a_default_of_the_function_applies_when_the_job_runs(conn):
    registry = App()

    @registry.job()
    def greet(job: Job, word: str = "hello") -> str:
        return word

    ref = greet.enqueue(conn)
    assert ":greet/word" not in greet.txn()
    drain(conn, registry)
    assert "hello" == ref.result()


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ((), {}, "missing a required argument: 'to'"),
        ((), {"to": "ann", "too": "x"}, "unexpected keyword argument 'too'"),
        (("ann", {"b"}, "subject"), {}, "too many positional arguments"),
        ((17,), {}, "the argument to of :mail/send is wrong: expected str, got 17"),
        (("ann",), {"cc": ["bob"]}, "the argument cc of :mail/send is wrong: expected set of str"),
        ((None,), {}, "the argument to of :mail/send is wrong: expected str, got None"),
    ],
)
def test_wrong_arguments_are_rejected_where_they_are_given(args, kwargs, why):
    with pytest.raises(OverseerError, match=why) as caught:
        shop.send.txn(*args, **kwargs)
    assert ":job.error/bad-argument" == caught.value.code


def test_a_job_that_lacks_an_argument_fails_with_its_attribute(conn):
    shop.app.install(conn)
    conn.transact([job_txn(":mail/send", id="m")])
    drain(conn, shop.app)
    with pytest.raises(JobFailed, match=r":mail/send m lacks :mail.send/to"):
        shop.send.ref(conn, "m").result()


def test_a_typed_job_can_be_called_without_a_store():
    assert "box 1" == asyncio.run(shop.pack(None, 1))
    assert shop.Receipt(1, ["a"]) == shop.pay(None, 1, ["a"])


# -- what is declared


def test_the_schema_declares_each_argument_and_can_be_installed_twice():
    with factstore.connect("memory:") as conn:
        app.install(conn)
        basis = conn.db().basis_t
        app.install(conn)
        App().install(conn)
        assert basis == conn.db().basis_t
        names = conn.db().schema.attribute(":test.all/names")
        assert (":db.type/string", True) == (f":db.type/{names.value_type.name}", names.many)


def test_a_parameter_may_declare_its_attribute(conn):
    registry = App()

    @registry.job()
    def ship(job: Job, order: Annotated[int, Attr(":order/of-job", type="ref")]) -> int:
        return order

    ref = ship.enqueue(conn, conn.transact([{":db/id": "o", ":order/number": "17"}]).tempids["o"])
    drain(conn, registry)
    assert conn.db().entid([":order/number", "17"]) == ref.result()


def declare(function):
    return App().job()(function)


def no_job() -> None: ...
def many(job: Job, *names: str) -> None: ...
def extra(job: Job, **names: str) -> None: ...
def bare(job: Job, name) -> None: ...
def unkept(job: Job, name: range) -> None: ...
def unknown(job: Job, name: "Missing") -> None: ...  # noqa: F821, UP037
def maybe(job: Job, name: str | None = "x") -> None: ...
def filled(job: Job, names: frozenset[str] = frozenset("x")) -> None: ...
def odd(job: Job) -> range: ...


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (no_job, "takes the job as its first argument"),
        (many, "is not passed by name"),
        (extra, "is not passed by name"),
        (bare, "needs an annotation"),
        (unkept, "has no attribute: range is not a type that a job can keep"),
        (unknown, "cannot be evaluated in its module: NameError"),
        (maybe, "may be None, so its default is None"),
        (filled, "keeps no empty set"),
        (odd, "not a type that a job can keep"),
    ],
)
def test_a_function_that_can_be_no_typed_job_is_rejected_where_it_is_declared(function, why):
    with pytest.raises(HandlerError, match=why) as caught:
        declare(function)
    assert ":job.error/bad-annotation" == caught.value.code


def test_two_functions_cannot_declare_one_type_but_a_function_can_be_declared_again():
    registry = App()
    registry.job(type="x")(maybe_nothing)
    registry.job(type="x")(maybe_nothing)
    with pytest.raises(HandlerError, match="declares the job type :x, as does"):
        registry.job(type=":x")(another)


def maybe_nothing(job: Job) -> None: ...
def another(job: Job) -> None: ...


@pytest.mark.parametrize("wrong", [17, "send", shop.send])
def test_only_a_function_declares_a_typed_job(wrong):
    with pytest.raises(HandlerError, match="a typed job is declared by a function"):
        declare(wrong)


@pytest.mark.parametrize("timeout", ["", "5", "5 minutes", "-1s", timedelta(0), 5, "9" * 30 + "d", "9" * 5000 + "d"])
def test_a_timeout_that_is_no_duration_is_rejected(timeout):
    with pytest.raises(OverseerError, match="a timeout is a timedelta above 0, or a text such as 30d"):
        App().job(timeout=timeout)


def test_the_app_is_the_mapping_of_handlers():
    assert [":pay", ":pack", ":ship", ":mail/send"] == list(shop.app)
    assert 4 == len(shop.app)
    assert timedelta(seconds=30) == shop.app["pay"]["timeout"]
    assert Retry(max_attempts=2).max_attempts == shop.app[":ship"]["retry"].max_attempts
    validate_graph_handlers(shop.app, {":pay": [], ":ship": [":pay"]})


# -- what becomes of the value


def values_of(kind):
    registry = App()

    def returns_it(job: Job, value: object = None):
        return VALUE

    returns_it.__annotations__["return"] = kind
    return registry, registry.job()(returns_it)


VALUE = None


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (None, 42, "has no return annotation other than None, so it returns None"),
        (None, [], "has no return annotation other than None"),
        (Facts, {":order/number": "1"}, r"returns facts, which are a list of forms, got .*did you mean \[\{"),
        (Facts, "[]", "returns facts, which are a list of forms, got '\\[\\]', a str"),
        (Facts, (n for n in ()), "returns facts, which are a list of forms, got .*a generator"),
        (Facts, {1}, "returns facts, which are a list of forms, got .*a set"),
        (Facts, None, "returns facts, which are a list of forms, got None"),
        (int, "x", "the result of :returns-it is wrong: expected int, got 'x'"),
        (str, None, "the result of :returns-it is wrong: expected str, got None"),
        (Result, 1, "returns an overseer.Result, got 1, a int"),
    ],
)
def test_a_value_that_would_be_lost_fails_the_job(conn, monkeypatch, kind, value, why):
    monkeypatch.setitem(globals(), "VALUE", value)
    registry, job = values_of(kind)
    ref = job.enqueue(conn)
    drain(conn, registry)
    with pytest.raises(JobFailed, match=why) as caught:
        ref.result()
    assert "failed" == caught.value.status.name


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        (None, None, None),
        (int | None, None, None),
        (Facts, [{":order/number": "1"}], []),
        (Facts, ({":order/number": "1"},), []),
        (Result, Result((1, 2), facts=[{":order/number": "1"}]), (1, 2)),
        (object, {"a": 1}, {"a": 1}),
    ],
)
def test_a_value_of_the_annotated_type_is_kept(conn, monkeypatch, kind, value, result):
    monkeypatch.setitem(globals(), "VALUE", value)
    registry, job = values_of(kind)
    ref = job.enqueue(conn)
    drain(conn, registry)
    assert result == ref.result()
    has_facts = kind in (Facts, Result)
    assert has_facts == (conn.db().entid([":order/number", "1"]) is not None)


# -- a job in a store


def test_a_job_can_be_awaited_explained_and_cancelled(conn):
    ref = shop.send.enqueue(conn, to="ann")
    assert UNSTARTED == ref.status
    assert "a worker with a handler for :mail/send will take it" in ref.explain().why
    with pytest.raises(NotEnded, match=f"the job {ref.id} is unstarted after 0 s") as late:
        ref.result(timeout=0)
    assert isinstance(late.value, TimeoutError)
    assert ref.cancel("no letter")
    assert not ref.cancel()
    assert ABORTED == ref.status
    with pytest.raises(JobFailed, match="was aborted: abort: no letter") as caught:
        ref.result()
    assert "no letter" == caught.value.failure[":message"]


def test_an_unknown_job_has_no_result(conn):
    with pytest.raises(OverseerError, match="there is no job 'x'"):
        shop.pay.ref(conn, "x").result()


def test_a_result_of_another_type_is_rejected(conn):
    ref = shop.pack.enqueue(conn, order=1)
    drain(conn, shop.app)
    with pytest.raises(OverseerError, match="not one of this function: expected Receipt, got 'box 1'") as caught:
        shop.pay.ref(conn, ref.id).result()
    assert ":job.error/bad-result" == caught.value.code


# -- graphs


def test_a_graph_of_typed_jobs_is_the_graph_of_their_assertions(conn):
    g = shop.app.graph()
    pay = g.add(shop.pay, 17, ["a", "b"])
    pack = g.add(shop.pack, order=17)
    ship = g.add(shop.ship, order=17, express=True).after(pay, pack).after(pay)
    clean = g.add(shop.send, to="ann").after(ship, when="all-done")
    jobs = {node.id: node.job for node in (pay, pack, ship, clean)}
    expected = Graph(jobs, {pay.id: [], pack.id: [], ship.id: [pay.id, pack.id], clean.id: [ship.id]})
    assert graph_txns(expected) == g.txns()
    assert ":job.rule/all-done" == clean.job[":job/rule"]
    g.enqueue(conn)
    drain(conn, shop.app)
    assert (shop.Receipt(17, ["a", "b"]), "box 17", []) == tuple(node.ref(conn).result() for node in (pay, pack, ship))
    assert {":order/total": 3} == factstore.pull(conn.db(), [":order/total"], [":order/number", "17"])
    assert {FINISHED} == {node.ref(conn).status for node in (pay, pack, ship, clean)}


def test_jobs_that_wait_for_each_other_or_for_another_graph_are_rejected():
    g = shop.app.graph()
    a, b = g.add(shop.send, to="a"), g.add(shop.send, to="b")
    a.after(b)
    with pytest.raises(GraphError, match="does not contain"):
        shop.app.graph().add(shop.send, to="c").after(a) and (other := shop.app.graph()).add(shop.send, to="c").after(a) and other.txns()
    b.after(a)
    with pytest.raises(GraphError, match="wait for each other in a circle"):
        g.txns()


# -- workers


@pytest.mark.parametrize("settings", [{}, {"concurrency": 3}, {"concurrency": 2, "executor": "asyncio"}])
def test_workers_take_an_app_and_single_settings(conn, settings):
    pay = shop.pay.enqueue(conn, 1, [])
    pack = shop.pack.enqueue(conn, 1)
    worker = Worker(conn, shop.app, **settings)
    assert settings.get("concurrency", 1) == worker.config.concurrency
    worker.run(until_idle=True)
    assert (shop.Receipt(1, []), "box 1") == (pay.result(), pack.result())


def test_typed_jobs_run_in_other_processes(tmp_path):
    with factstore.connect(str(tmp_path / "jobs.facts")) as conn:
        pay, pack = shop.pay.enqueue(conn, 1, ["x"]), shop.pack.enqueue(conn, 1)
        Worker(conn, shop.app, {"executor": "processes"}, concurrency=2).run(until_idle=True)
        assert (shop.Receipt(1, ["x"]), "box 1") == (pay.result(timeout="1m"), pack.result(timedelta(minutes=1)))


def test_a_typed_job_that_cannot_be_imported_is_rejected_for_other_processes(tmp_path):
    with factstore.connect(str(tmp_path / "jobs.facts")) as conn:
        registry, _ = values_of(None)
        install(conn)
        with pytest.raises(HandlerError, match="defined in another function"):
            Worker(conn, registry, executor="processes").prepare()


def test_a_typed_job_is_pickled_by_its_name_with_its_options():
    assert shop.send is pickle.loads(pickle.dumps(shop.send))
    assert "m" == pickle.loads(pickle.dumps(shop.send.options(id="m"))).txn(to="x")[":job/id"]


def test_an_unknown_setting_is_rejected_with_a_hint(conn):
    with pytest.raises(OverseerError, match="no setting is called concurency; did you mean concurrency"):
        Worker(conn, shop.app, concurency=8)
