"""`factstore mcp`, driven by the official client over stdio: the real command in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from click.testing import CliRunner
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import Implementation

import factstore
import overseer
from factstore.cli import main
from factstore.mcp import Limits, Session, Tool
from factstore.mcp.server import called, server
from overseer import status

SCHEMA = """[{:db/ident :person/email :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
             {:db/ident :person/age :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/doc "In years."}
             {:db/ident :color/red}]"""
ANN = '[{:person/email "ann@x" :person/age 41}]'
ADULTS = "[:find ?email :in $ ?least :where [?p :person/email ?email] [?p :person/age ?age] [(>= ?age ?least)]]"
READS = ["diff", "explain_job", "history", "jobs", "pull", "query", "schema", "suppose"]


class Answer(NamedTuple):
    """What a tool answered."""

    is_error: bool
    text: str

    @property
    def data(self) -> Any:
        assert not self.is_error, self.text
        return json.loads(self.text)


class Server(NamedTuple):
    """A client of a server that runs."""

    portal: BlockingPortal
    client: Client

    def tools(self) -> list[Any]:
        return self.portal.call(self.client.list_tools).tools

    def __call__(self, tool: str, **arguments: Any) -> Answer:
        result = self.portal.call(self.client.call_tool, tool, arguments)
        return Answer(bool(result.is_error), result.content[0].text)


@contextmanager
def connected(server: Any) -> Iterator[Server]:
    """Connect the official client to a transport, or to a server in this process."""
    client = Client(server, client_info=Implementation(name="tests", version="1.2"))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
        yield Server(portal, client)


@contextmanager
def served(store: str, *options: str) -> Iterator[Server]:
    """Start the command, and connect to it over stdio."""
    command = StdioServerParameters(command=sys.executable, args=["-m", "factstore", "mcp", store, *options])
    with Path(store + ".log").open("a") as log, connected(stdio_client(command, errlog=log)) as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a person who became 42, and with jobs."""
    path = str(tmp_path_factory.mktemp("mcp") / "shop.facts")
    with factstore.connect(path) as conn:
        conn.transact(SCHEMA)
        conn.transact(ANN)
        conn.transact('[[:db/add [:person/email "ann@x"] :person/age 42]]')
        overseer.install(conn)
        conn.transact([overseer.job_txn("mail/send", id="m1"), overseer.job_txn("mail/send", id="m2")])
        overseer.JobStore(conn, worker="w").abort("m2", "no longer needed")
    return path


@pytest.fixture(scope="module")
def reader(store: str) -> Iterator[Server]:
    with served(store) as server:
        yield server


@pytest.fixture(scope="module")
def limited(store: str) -> Iterator[Server]:
    limits = Limits(rows=2, bytes=1000, seconds=2.0)
    with factstore.connect(store, read_only=True) as conn, connected(server(conn, limits, allow_writes=False)) as made:
        yield made


def newest(store: str) -> int:
    with factstore.connect(store, read_only=True) as conn:
        return conn.db().basis_t


def test_a_server_offers_only_tools_that_read(reader: Server) -> None:
    tools = reader.tools()
    assert READS == sorted(tool.name for tool in tools)
    assert all(tool.annotations.read_only_hint for tool in tools)


def test_a_tool_describes_itself_and_each_argument(reader: Server) -> None:
    tools = {tool.name: tool for tool in reader.tools()}
    assert tools["query"].description.startswith("Return the answer of a Datalog query")
    assert ["query"] == tools["query"].input_schema["required"]
    docs = [
        (tool.name, name) for tool in tools.values() for name, each in tool.input_schema["properties"].items() if not each["description"]
    ]
    assert [] == docs


def test_the_schema_has_the_attributes_and_the_other_idents(reader: Server) -> None:
    answer = reader("schema", namespace="person").data
    assert [":person/email", ":person/age"] == [each["ident"] for each in answer["attributes"]]
    assert {"valueType": ":db.type/long", "doc": "In years."}.items() <= answer["attributes"][1].items()
    assert [":color/red"] == reader("schema").data["idents"]


def test_a_query_has_its_inputs_in_edn(reader: Server) -> None:
    answer = reader("query", query=ADULTS, args="[18]").data
    assert (1, ["email"], [["ann@x"]]) == (answer["count"], answer["columns"], answer["rows"])
    assert [] == reader("query", query=ADULTS, args="[43]").data["rows"]


def test_a_query_reads_the_past_and_the_whole_history(reader: Server) -> None:
    age = "[:find ?age . :where [_ :person/age ?age]]"
    assert [[41]] == reader("query", query=age, at=2).data["rows"]
    assert [[41]] == reader("query", query=age, at="2").data["rows"]
    ages = "[:find ?age ?added :where [_ :person/age ?age _ ?added]]"
    assert [[41, False], [41, True], [42, True]] == sorted(reader("query", query=ages, history=True).data["rows"])


def test_values_that_json_lacks_are_edn_and_can_be_used_in_the_next_query(reader: Server) -> None:
    [[when]] = reader("query", query="[:find (min ?i) :where [_ :db/txInstant ?i]]").data["rows"]
    assert when.startswith('#inst "20')
    again = reader("query", query="[:find (count ?tx) . :in $ ?i :where [?tx :db/txInstant ?i]]", args=f"[{when}]").data
    assert [[1]] == again["rows"]


def test_an_entity_is_pulled_by_a_lookup_ref(reader: Server) -> None:
    pulled = reader("pull", entity='[:person/email "ann@x"]', pattern="[:person/age]").data
    assert {":person/age": 42} == pulled["entity"]
    assert 41 == reader("pull", entity='[:person/email "ann@x"]', at=2).data["entity"][":person/age"]
    assert ":color/red" == reader("pull", entity=":color/red").data["entity"][":db/ident"]


def test_the_history_of_an_entity_has_each_change(reader: Server) -> None:
    events = reader("history", entity='[:person/email "ann@x"]').data["events"]
    assert [(":person/age", True, 41), (":person/age", False, 41), (":person/age", True, 42)] == [
        (each["attribute"], each["added"], each["value"]) for each in events if each["attribute"] == ":person/age"
    ]


def test_a_difference_is_the_net_change(reader: Server) -> None:
    changes = reader("diff", start=2, end=3).data["changes"]
    assert {(":person/age", False, 41), (":person/age", True, 42)} <= {
        (each["attribute"], each["added"], each["value"]) for each in changes
    }


def test_suppose_answers_a_query_on_what_would_be_and_writes_nothing(reader: Server, store: str) -> None:
    before = newest(store)
    tx_data = '[{:db/id "bo" :person/email "bo@x" :person/age 7}]'
    answer = reader("suppose", tx_data=tx_data, query=ADULTS, args="[7]").data
    assert [["ann@x"], ["bo@x"]] == sorted(answer["rows"])
    assert ["bo"] == list(answer["tempids"])
    assert (":person/age", 7) in {(each["attribute"], each["value"]) for each in answer["datoms"]}
    assert before == newest(store)


def test_jobs_are_listed_and_explained(reader: Server) -> None:
    answer = reader("jobs", status="aborted").data
    assert ["m2"] == [job["id"] for job in answer["jobs"]]
    assert {"unstarted": 1, "aborted": 1}.items() <= answer["counts"].items()
    assert "it is ready" in reader("explain_job", job="m1").data["why"]


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "part"),
    [
        ("query", {"query": "[:find ?e"}, ":db.error/", "line 1"),
        ("query", {"query": "[:find ?e :where [?e :person/nane]]"}, ":db.error/unknown-attribute", ":person/nane"),
        ("query", {"query": ADULTS, "args": "18"}, ":db.error/invalid-inputs", "args is a vector"),
        ("query", {"query": ADULTS, "args": "[18"}, ":db.error/", "in args"),
        ("query", {"query": 7, "arg": "[]"}, ":db.error/invalid-argument", "it has no argument arg; query is a string, got 7"),
        ("pull", {}, ":db.error/invalid-argument", "entity is missing"),
        ("pull", {"entity": "[:person/email"}, ":db.error/", "in entity"),
        ("query", {"query": ADULTS, "at": "yesterday"}, ":db.error/invalid-point", "yesterday"),
        ("suppose", {"tx_data": '[{:person/age "x"}]'}, ":db.error/wrong-type-for-attribute", ":person/age"),
        ("suppose", {"tx_data": "[]", "args": "[1]"}, ":db.error/invalid-inputs", "there is no query"),
        ("explain_job", {"job": "m9"}, ":job.error/", "m9"),
        ("excise", {}, ":db.error/unknown-tool", "excise"),
        ("transact", {"tx_data": ANN, "key": "k"}, ":db.error/unknown-tool", "--allow-writes"),
        ("enqueue", {"type": "x", "id": "y"}, ":db.error/unknown-tool", "--allow-writes"),
    ],
)
def test_a_fault_is_one_sentence_with_its_code(
    reader: Server, store: str, tool: str, arguments: dict[str, Any], code: str, part: str
) -> None:
    before = newest(store)
    answer = reader(tool, **arguments)
    assert answer.is_error
    assert answer.text.startswith(code)
    assert part in answer.text
    assert "Traceback" not in answer.text
    assert before == newest(store)


def test_rows_above_the_limit_are_left_out_and_the_answer_states_it(limited: Server) -> None:
    answer = limited("query", query="[:find ?x :in $ [?x ...]]", args="[[1 2 3]]").data
    assert (3, [[1], [2]]) == (answer["count"], answer["rows"])
    assert "only the first 2 of rows" in answer["truncated"]


def test_an_answer_has_at_most_the_bytes_of_the_limit(limited: Server) -> None:
    text = limited("query", query="[:find ?x :in $ [?x ...]]", args=json.dumps([["é" * 200, "b" * 400]])).text
    assert len(text.encode()) <= 1000
    assert "at most 1,000 bytes" in json.loads(text)["truncated"]


def test_an_entity_that_is_too_large_is_an_error_with_a_remedy(limited: Server) -> None:
    answer = limited("pull", entity=":db/ident", pattern=f'[(:db/doc :as "{"x" * 1000}")]')
    assert (True, True) == (answer.is_error, answer.text.startswith(":db.error/query-too-large"))


ENDLESS = "[[(from ?n) [(ground 0) ?n]] [(from ?n) (from ?m) [(+ ?m 1) ?n]]]"


def test_a_query_that_takes_too_long_is_stopped(limited: Server) -> None:
    answer = limited("query", query="[:find (count ?n) . :in $ % :where (from ?n)]", args=f"[{ENDLESS}]")
    assert (True, True) == (answer.is_error, answer.text.startswith(":db.error/query-timeout"))
    assert not limited("schema").is_error


def test_a_query_with_too_many_rows_is_stopped_before_they_are_made(reader: Server) -> None:
    numbers = " ".join(map(str, range(900)))
    query = "[:find (count ?x) . :in $ [?x ...] [?y ...] [?z ...]]"
    answer = reader("query", query=query, args=f"[[{numbers}] [{numbers}] [{numbers}]]")
    assert (True, True) == (answer.is_error, answer.text.startswith(":db.error/query-too-large"))


@pytest.fixture(scope="module")
def writable(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("mcp") / "written.facts")
    with factstore.connect(path) as conn:
        conn.transact(SCHEMA)
    return path


@pytest.fixture(scope="module")
def writer(writable: str) -> Iterator[Server]:
    with served(writable, "--allow-writes") as server:
        yield server


def test_with_allow_writes_two_tools_write_and_none_erases(writer: Server) -> None:
    tools = writer.tools()
    assert sorted([*READS, "enqueue", "transact"]) == sorted(tool.name for tool in tools)
    assert {"enqueue", "transact"} == {tool.name for tool in tools if not tool.annotations.read_only_hint}


def test_a_transaction_is_signed_with_the_name_of_the_client_and_committed_once(writer: Server, writable: str) -> None:
    first = writer("transact", tx_data=ANN, key="import-1").data
    again = writer("transact", tx_data=ANN, key="import-1").data
    assert first["t"] == again["t"] == newest(writable)
    with factstore.connect(writable, read_only=True) as conn:
        [event, *_] = factstore.entity_history(conn.db(), [":person/email", "ann@x"])
    assert "mcp tests 1.2" == event.why[":overseer/by"]


def test_a_rejected_transaction_writes_nothing(writer: Server, writable: str) -> None:
    writer("transact", tx_data="[]", key="declares the signature")
    before = newest(writable)
    answer = writer("transact", tx_data='[{:person/age "x"}]', key="wrong")
    assert answer.text.startswith(":db.error/wrong-type-for-attribute")
    assert writer("transact", tx_data="[]", key=" ").text.startswith(":db.error/invalid-option")
    assert before == newest(writable)


def test_a_job_is_inserted_once_signed_and_its_state_explained(writer: Server, writable: str) -> None:
    job = {"type": "mail/send", "id": "welcome", "arguments": '{:person/email "bo@x"}', "queue": "mail", "priority": 3}
    assert "it is ready" in writer("enqueue", **job).data["why"]
    writer("enqueue", **job)
    with factstore.connect(writable, read_only=True) as conn:
        [step] = status.history(conn.db(), "welcome")
        about = conn.db().pull("[:job/queue :job/priority :person/email]", [":job/id", "welcome"])
    assert "mcp tests 1.2" == step.by
    assert {":job/queue": ":mail", ":job/priority": 3, ":person/email": "bo@x"} == about


def test_bad_arguments_of_a_job_insert_nothing(writer: Server, writable: str) -> None:
    writer("enqueue", type="mail/send", id="declares the schema")
    before = newest(writable)
    assert writer("enqueue", type="x", id="y", arguments="[1]").text.startswith(":job.error/bad-argument")
    assert writer("enqueue", type="x", id="y", run_at="tomorrow").text.startswith(":db.error/invalid-point")
    assert writer("enqueue", type="x", id="y", arguments="{:no/such 1}").is_error
    assert before == newest(writable)


def test_a_missing_store_is_one_line_and_creates_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["mcp", str(tmp_path / "none.facts")])
    assert (3, "", 1) == (done.exit_code, done.stdout, len(done.stderr.splitlines()))
    assert [] == list(tmp_path.iterdir())


def test_limits_are_checked_before_the_store_is_opened(tmp_path: Path) -> None:
    for options in (["--timeout", "soon"], ["--max-rows", "0"], ["--max-bytes", "10"]):
        assert 2 == CliRunner().invoke(main, ["mcp", str(tmp_path / "none.facts"), *options]).exit_code


def test_a_call_that_the_client_cancels_stops_its_work() -> None:
    began, stopped = Event(), Event()

    def endless(session: Session) -> dict[str, Any]:
        """Work until the call is cancelled."""
        began.set()
        assert session.cancel.wait(60)
        stopped.set()
        return {}

    async def call_and_cancel(asked: Session) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(called, asked, Tool.of(endless, writes=False), {})
            await anyio.to_thread.run_sync(began.wait)
            tasks.cancel_scope.cancel()

    with factstore.connect("memory:") as conn:
        anyio.run(call_and_cancel, Session(conn, "tests", Limits()))
    assert stopped.wait(60)


def test_a_tool_that_fails_is_one_sentence_and_its_reason_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(session: Session) -> dict[str, Any]:
        """Fail."""
        raise ZeroDivisionError("the secret reason")

    monkeypatch.setattr("factstore.mcp.server.READS", [broken])
    with factstore.connect("memory:") as conn, connected(server(conn, Limits(), allow_writes=False)) as made:
        answer = made("broken")
    assert answer.is_error
    assert ":db.error/tool-failed: the tool broken failed; the log of the server has the reason" == answer.text
    assert "the secret reason" in caplog.text


HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}},
}  # fmt: skip


@contextmanager
def greeted(store: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command, and let it answer the first message."""
    command = [sys.executable, "-m", "factstore", "mcp", store]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(HELLO) + "\n")
        process.stdin.flush()
        assert 1 == json.loads(process.stdout.readline())["id"]
        yield process


def test_ctrl_c_ends_a_server_that_waits_for_its_client(store: str) -> None:
    with greeted(store) as process:
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(60)
        assert process.stderr and "factstore: interrupted\n" == process.stderr.read()


def test_a_server_ends_when_its_client_no_longer_reads(store: str) -> None:
    with greeted(store) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(json.dumps({**HELLO, "id": 2, "method": "ping"}) + "\n")
        process.stdin.flush()
        assert (0, "") == (process.wait(60), process.stderr.read())


def test_a_message_is_read_whatever_its_pieces_are_and_lines_that_are_no_messages_end_nothing(store: str) -> None:
    with greeted(store) as process:
        assert process.stdin and process.stdout
        text = "no json\n\n" + json.dumps({**HELLO, "id": "ü" * 100_000, "method": "ping"}, ensure_ascii=False)
        for piece in (text[:20], text[20:-1], text[-1:] + "\n"):
            process.stdin.write(piece)
            process.stdin.flush()
        answers = map(json.loads, process.stdout)
        assert "ü" * 100_000 == next(answer["id"] for answer in answers if "id" in answer)
        process.stdin.close()
        assert 0 == process.wait(60)
