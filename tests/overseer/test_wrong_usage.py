"""What cannot work is told in one line, on the command line and by the functions that make jobs, queues and settings."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import factstore
from factstore import FactStoreError, quoted
from overseer import Config, Retry, Worker, cron, graph_txns, harness, install, job_graph, job_txn, plan, queue, status, unique
from overseer.cli import main
from overseer.cli.commands import load_handlers
from overseer.errors import ConfigError, GraphError, HandlerError, OverseerError
from overseer.jobs.graph import missing_handlers
from overseer.jobs.states import as_keyword


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a store and modules of handlers."""
    monkeypatch.chdir(tmp_path)
    Path("handlers_of_a_test.py").write_text("HANDLERS = {'mail': lambda job: None}\nWRONG = 5\n", encoding="utf-8")
    Path("raising_in_a_test.py").write_text("raise RuntimeError('at import')\n", encoding="utf-8")
    Path("leaving_in_a_test.py").write_text("raise SystemExit(0)\n", encoding="utf-8")
    Path("interrupting_in_a_test.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    Path("unwinding_in_a_test.py").write_text("raise BaseException('stop')\n", encoding="utf-8")
    Path("typo_in_a_test.py").write_text("def (\n", encoding="utf-8")
    Path("bad.toml").write_text("store = \n", encoding="utf-8")
    Path("inf.toml").write_text("sleep-time = inf\n", encoding="utf-8")
    Path("dsn.toml").write_text('sentry-dsn = "nonsense"\n', encoding="utf-8")
    Path("circle.yaml").write_text("a: &a\n  b: *a\n", encoding="utf-8")
    with factstore.connect("s.facts") as conn:
        install(conn)
    return tmp_path


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: job_txn("mail", 5), "arguments of a job are a mapping from attributes to values, got 5"),  # type: ignore[arg-type]
        (lambda: job_txn("mail", [":a", 1]), "arguments of a job are a mapping"),  # type: ignore[arg-type]
        (lambda: job_graph({"a": []}, "x"), "arguments of a job are a mapping"),  # type: ignore[arg-type]
        (lambda: graph_txns(job_graph({"a": []}), 5), "arguments of a job are a mapping"),  # type: ignore[arg-type]
        (lambda: job_graph({"a": []}, ids=lambda: None), "ids is a function that returns a new job id, a text, each time; got None"),  # type: ignore[arg-type, return-value]
        (lambda: job_graph({"a": []}, ids=lambda: ""), "ids is a function that returns"),
        (lambda: job_graph({"a": []}, ids="abc"), "ids is a function that returns"),  # type: ignore[arg-type]
        (lambda: job_graph({"a": [], "b": []}, ids=lambda: "same"), "ids returned the same id for two jobs"),
    ],
)
def test_arguments_and_ids_of_another_kind_are_rejected(make: Callable[[], object], part: str) -> None:
    with pytest.raises(GraphError, match=part) as raised:
        make()
    assert raised.value.code == ":job.error/bad-argument"


def test_a_wrapper_that_is_no_function_is_rejected() -> None:
    with pytest.raises(HandlerError, match="a wrapper is a function from a stage to a stage, got 5"):
        harness(lambda job: None, 5)  # type: ignore[arg-type, return-value]


WORKER = "worker handlers_of_a_test:HANDLERS --store s.facts --until-idle"


@pytest.mark.parametrize(
    ("line", "code", "part"),
    [
        ("status --store none.facts", 1, "there is no store at"),
        ("status --store s.facts --as-of x", 2, "'x' is neither a t nor a time"),
        ("status --store s.facts --as-of 9999-12-31T23:59-14:00", 1, ""),
        ("schedules --store none/s.facts", 1, "there is no directory"),
        ("worker none_such:X --store s.facts", 1, "the module none_such cannot be imported: ModuleNotFoundError"),
        ("worker :HANDLERS --store s.facts", 1, "handlers are given as module:name, got ':HANDLERS'"),
        ("worker handlers_of_a_test --store s.facts", 1, "handlers are given as module:name"),
        ("worker ./handlers_of_a_test.py:HANDLERS --store s.facts", 1, "did you mean handlers_of_a_test:HANDLERS?"),
        ("worker handlers_of_a_test:handlers --store s.facts", 1, "has no handlers; did you mean HANDLERS?"),
        ("worker handlers_of_a_test:WRONG --store s.facts", 1, "expected a mapping from job types to handlers, but"),
        ("worker raising_in_a_test:X --store s.facts", 1, "RuntimeError: at import"),
        ("worker leaving_in_a_test:X --store s.facts", 1, "SystemExit: 0"),
        ("worker interrupting_in_a_test:X --store s.facts", 1, "interrupting_in_a_test cannot be imported: KeyboardInterrupt"),
        ("worker unwinding_in_a_test:X --store s.facts", 1, "unwinding_in_a_test cannot be imported: BaseException: stop"),
        ("worker typo_in_a_test:X --store s.facts", 1, "SyntaxError"),
        ("worker a..b:X --store s.facts", 1, "handlers are given as module:name"),
        (f"{WORKER} --lease inf", 1, "heartbeat_sleep_time is more than 0 and less than a century"),
        (f"{WORKER} --lease nan", 1, "heartbeat_sleep_time is more than 0"),
        (f"{WORKER} --lease -1", 1, "heartbeat_sleep_time is more than 0"),
        (f"{WORKER} --concurrency 0", 1, "concurrency is more than 0"),
        (f"{WORKER} --queue a@b", 1, "expected a name such as mail"),
        (f"{WORKER} --config none.toml", 1, "none.toml cannot be read"),
        (f"{WORKER} --config bad.toml", 1, "bad.toml cannot be read: Invalid value (at line 1, column 9)"),
        (f"{WORKER} --config inf.toml", 1, "sleep_time is more than 0 and less than a century"),
        (f"{WORKER} --config circle.yaml", 1, "deeper than any setting"),
        (f"{WORKER} --config dsn.toml", 1, "sentry_dsn is the DSN of a project"),
        ("prune --store s.facts --older-than 9999999999d", 2, "is no time such as 30d"),
        ("prune --store s.facts --older-than ٣d", 2, "is no time such as 30d"),
        ("prune --store s.facts --older-than -1d", 2, "is no time such as 30d"),
        ("prune --store s.facts --older-than 1d --keep-last -1", 2, "-1 is not in the range"),
        ("prune --store s.facts --older-than 1d --status nothing", 1, "only jobs that ended are pruned"),
        ("prune --store s.facts --older-than 1d --type a@b", 1, "expected a name such as mail"),
        ("plan --store s.facts --workers 0", 2, "0 is not in the range"),
        ("pause --store s.facts a@b", 1, "expected a name such as mail"),
        ("retry --store s.facts none", 1, "there is no job 'none'"),
        ("revert --store s.facts 99999999999999999999", 1, ""),
    ],
)
def test_wrong_usage_of_a_command_is_one_line_and_an_exit_code(home: Path, line: str, code: int, part: str) -> None:
    done = CliRunner().invoke(main, line.split())
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert (code, True) == (done.exit_code, part in done.output) or (not part and done.exit_code in (0, 1)), done.output
    if done.exit_code == 1:
        assert 1 == len(done.output.splitlines())
    assert not (home / "none.facts").exists()


def test_jobs_may_be_pruned_that_are_older_than_any_datetime(home: Path) -> None:
    done = CliRunner().invoke(main, ["prune", "--store", "s.facts", "--older-than", "999999999d"])
    assert 0 == done.exit_code
    assert "0 jobs are gone\n" == done.output


def test_a_port_that_is_taken_is_told_in_one_line(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        Path("port.toml").write_text(f"metrics-port = {taken.getsockname()[1]}\n", encoding="utf-8")
        done = CliRunner().invoke(main, f"{WORKER} --config port.toml".split())
    assert 1 == done.exit_code
    assert "cannot be used" in done.output.splitlines()[-1]


@pytest.mark.parametrize("name", ["", ":", "x", "x:", ":x", "a b:c", "1:x", "no.such.module:X"])
def test_handlers_that_cannot_be_loaded_are_an_error_of_the_family(name: str) -> None:
    with pytest.raises(HandlerError) as caught:
        load_handlers(name)
    assert ":job.error/bad-handler" == caught.value.code


ODD: list[Any] = [None, 5, 1.5, True, b"x", "", ":", "a@b", "a b", [], ["x"], {}, object(), timedelta(1), "\ud800 x"]


@pytest.mark.parametrize("name", ODD, ids=lambda name: f"{type(name).__name__} {name if isinstance(name, str) else ''}")
def test_what_is_no_name_is_an_error_of_the_family(name: Any) -> None:
    for use in (as_keyword, queue, job_txn):
        with pytest.raises(OverseerError, match="expected a name such as mail") as caught:
            use(name)
        assert ":job.error/bad-name" == caught.value.code


@pytest.mark.parametrize("make", [job_graph, graph_txns, lambda graph: missing_handlers({}, graph)])
@pytest.mark.parametrize(
    ("graph", "part"),
    [
        ({"load": [], "send": "load"}, "what :send depends on is a list of types, got 'load'; did you mean ['load']?"),
        ({"load": 5}, "what :load depends on is a list of types, got 5"),
        ({"load": {"a": 1}}, "what :load depends on is a list of types, got {'a': 1}"),
        ("load", "a graph is a mapping from each type to a list of those it depends on, got 'load'"),
        ([":load"], "a graph is a mapping"),
    ],
)
def test_a_graph_of_another_shape_is_named(make: Any, graph: Any, part: str) -> None:
    with pytest.raises(GraphError) as caught:
        make(graph)
    assert ":job.error/bad-argument" == caught.value.code
    assert (part in caught.value.message) is True


@pytest.mark.parametrize("timeout", [5, 1.5, "soon", "0s", timedelta(0), timedelta(-1), True])
def test_a_timeout_is_a_positive_timedelta(timeout: Any) -> None:
    with pytest.raises(GraphError, match="a timeout is a timedelta above 0"):
        job_txn("mail", timeout=timeout)


def test_a_timeout_in_words_is_the_timedelta() -> None:
    assert job_txn("mail", id="m", timeout=timedelta(seconds=90)) == job_txn("mail", id="m", timeout="1m30s")
    job = job_txn("mail", id="m")
    assert unique("k", job, period=timedelta(hours=1)) == unique("k", job, period="1h")


def test_a_period_of_a_key_is_a_timedelta() -> None:
    with pytest.raises(GraphError, match=r"a period is a timedelta above 0 or a text such as .30s., got 5"):
        unique("k", job_txn("mail"), period=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [None, "x", -1, 0, 1e400, float("nan"), 10**5000, True, [], {}, timedelta(1), object()],
    ids=lambda value: quoted(value, 20) if type(value) is not object else "object",
)
@pytest.mark.parametrize(
    "name",
    [
        *(
            "heartbeat_sleep_time",
            "heartbeat_tolerance",
            "sleep_time",
            "concurrency",
            "batch",
            "flush",
            "queues",
            "timeouts",
            "max_crashes",
        ),
        *("retries", "sentry_dsn", "metrics_port", "store"),
    ],
)
def test_any_value_of_a_setting_is_taken_or_refused_by_name(name: str, value: Any) -> None:
    try:
        made = Config(**{name: value})
    except ConfigError as error:
        assert ":job.error/bad-config" == error.code
        assert name == error.setting
    else:
        assert made.lease > timedelta(0)


@pytest.mark.parametrize("given", [5, "x", [1], True, {"a": {"b": {"c": 1}}}, {5: 1}, {None: None}])
def test_settings_that_are_no_table_of_settings_are_refused(given: Any) -> None:
    with pytest.raises(FactStoreError) as caught:
        Config.of(given)
    assert ":job.error/bad-config" == caught.value.code


def test_settings_that_contain_themselves_are_refused() -> None:
    circle: dict[str, Any] = {}
    circle["heartbeat"] = circle
    with pytest.raises(ConfigError, match="deeper than any setting"):
        Config.of(circle)


@pytest.mark.parametrize("names", [("mail", ":mail"), (":mail/send", "mail/send"), (factstore.Keyword(":mail"), "mail")])
def test_a_type_that_is_named_twice_is_rejected_before_the_first_claim(names: tuple[str, str]) -> None:
    with factstore.connect("memory:") as conn, pytest.raises(HandlerError, match="another key here is the same type") as caught:
        Worker(conn, dict.fromkeys(names, print))
    assert ":job.error/bad-handler" == caught.value.code
    for setting, value in {"timeouts": 5, "retries": Retry()}.items():
        with pytest.raises(ConfigError, match=f"{setting} is a table that names each type once") as rejected:
            Config(**{setting: dict.fromkeys(names, value)})
        assert ":job.error/bad-config" == rejected.value.code


@pytest.mark.parametrize(
    ("setting", "value"),
    [("listeners", 3), ("listeners", [3]), ("listeners", "x"), ("listeners", None), ("seed", []), ("tracing", "no"), ("log_events", 1)],
)
def test_a_setting_of_another_type_is_named(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^:job.error/bad-config: {setting} is ") as caught:
        Config(**{setting: value})
    assert setting == caught.value.setting


NAIVE = datetime(2026, 1, 1)
WITH_TIMES: dict[str, Callable[[factstore.Connection], object]] = {
    "jobs": lambda conn: status.jobs(conn.db(), since=NAIVE),
    "explain": lambda conn: status.explain(conn.db(), "j", at=NAIVE),
    "backlog": lambda conn: status.backlog(conn.db(), at=NAIVE),
    "jobs_ready": lambda conn: status.jobs_ready(conn.db(), at=NAIVE),
    "jobs_dead": lambda conn: status.jobs_dead(conn.db(), at=NAIVE),
    "plan": lambda conn: plan(conn.db(), now=NAIVE),
    "due": lambda conn: cron.due(conn.db(), NAIVE),
    "tick": lambda conn: cron.tick(conn, NAIVE),
    "nominal_times": lambda _conn: next(cron.nominal_times("0 3 * * *", "UTC", after=NAIVE)),
    "backfill": lambda conn: cron.backfill(conn, "s", start=NAIVE, end=NAIVE),
    "backfill at the limits": lambda conn: cron.backfill(conn, "s", start=datetime.min.replace(tzinfo=UTC), end=datetime.now(UTC)),
}


@pytest.mark.parametrize("call", WITH_TIMES.values(), ids=WITH_TIMES)
def test_a_time_without_a_zone_is_rejected(call: Callable[[factstore.Connection], object]) -> None:
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([job_txn("mail", id="j"), cron.schedule("s", "0 3 * * *", "mail")])
        before = conn.db().basis_t
        with pytest.raises(FactStoreError, match=r"zone|naive|years 1970"):
            call(conn)
        assert before == conn.db().basis_t


@pytest.mark.parametrize("workers", [0, -1, float("nan")])
def test_a_plan_without_workers_is_rejected(workers: int) -> None:
    with factstore.connect("memory:") as conn, pytest.raises(OverseerError, match="at least one worker"):
        plan(install(conn) or conn.db(), now=datetime.now(UTC), workers=workers)


@pytest.mark.parametrize(
    ("error", "why"), [(NotImplementedError(), "NotImplementedError"), (KeyError("x"), "KeyError: 'x'"), (ValueError("no"), "no")]
)
def test_the_reason_of_a_failure_names_the_exception_if_its_message_says_too_little(error: Exception, why: str) -> None:
    def fail(_job: object) -> None:
        raise error

    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([job_txn("mail", id="j")])
        Worker(conn, {"mail": fail}).run(until_idle=True)
        assert f"exception: {why}" == status.explain(conn.db(), "j").why
        assert [why] == [job.why for job in status.jobs(conn.db())]
