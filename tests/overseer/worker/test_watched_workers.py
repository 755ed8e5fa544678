"""Real workers under watch: processes whose Sentry is a server of ours, scraped, logging JSON, and ticking schedules together."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Event, Thread

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from sentry_sdk.envelope import Envelope

import factstore
from overseer import Config, Worker, cron, events, graph_txns, install, job_txn
from overseer.listeners.tracing import Tracing
from overseer.worker.monitor import Monitor
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
HANDLERS = """
import logging
import overseer

def quiet(job):
    overseer.abort_silent("expected")

def bad(job):
    error = ValueError("no such month")
    error.data = {"month": 13, "file": object()}
    raise error

def say(job):
    logging.getLogger("a.library").warning("I was called")

handlers = {":say": say, ":bad": bad, ":quiet": quiet}
"""


@pytest.fixture
def sentry_server() -> Iterator[tuple[str, Queue[dict]]]:
    """Run a server that takes envelopes as Sentry does; give its dsn and the events that came."""
    came: Queue[dict] = Queue()

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            envelope = Envelope.deserialize(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            for item in envelope.items:
                if item.type == "event":
                    came.put(item.payload.json)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Takes)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://key@127.0.0.1:{server.server_port}/1", came
    server.shutdown()
    server.server_close()
    thread.join()


def scrape(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except urllib.error.URLError:
        return {}  # the worker is not up yet
    return {(sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples}


def attempts(scraped, outcome, type):
    """How many attempts all workers together counted."""
    return sum(found.get(("overseer_attempts_total", ("outcome", outcome), ("queue", ""), ("type", type)), 0) for found in scraped)


def scrape_until(ports, is_enough):
    """Scrape as Prometheus does, again and again: what is committed is counted a moment later."""
    for _ in range(300):
        scraped = [scrape(port) for port in ports]
        if is_enough(scraped):
            return scraped
        Event().wait(0.1)
    raise AssertionError(f"it was never counted: {scraped}")


def start(folder, name, settings):
    """Start a worker process with a file of settings; its log goes to a file beside it."""
    (folder / f"{name}.yaml").write_text(json.dumps(settings))  # JSON is YAML
    command = [sys.executable, "-m", "overseer", "worker", "watched:handlers", "--config", f"{name}.yaml", "--log-json"]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(command, cwd=folder, env=env, stderr=log)


def test_two_workers_report_log_count_and_tick_together(tmp_path, sentry_server):
    dsn, came = sentry_server
    (tmp_path / "watched.py").write_text(HANDLERS)
    path, ports = tmp_path / "jobs.facts", [free_port(), free_port()]
    with factstore.connect(path) as conn:
        install(conn)
        conn.transact([cron.schedule("each-second", "* * * * * *", "say", missed="all")])
        conn.transact([job_txn("bad", id="b1"), job_txn("quiet", id="q1"), job_txn("say", id="s1")])
        common = {"store": str(path), "sentry": {"dsn": dsn}, "log-events": True}
        workers = [start(tmp_path, f"w{n}", {**common, "metrics-port": port}) for n, port in enumerate(ports)]
        try:
            finished = "[:find [?nominal ...] :where [?j :job/nominal ?nominal] [?j :job/status :job.status/finished]]"
            with conn.tx_reports() as reports:
                while len(factstore.q(finished, conn.db())) < 4:
                    assert reports.get(60) is not None, "nobody works"
            told = came.get(timeout=30)
            ended = [("finished", ":say"), ("failed", ":bad"), ("aborted", ":quiet")]
            failed = ("overseer_jobs", ("queue", ""), ("status", "failed"), ("type", ":bad"))
            scraped = scrape_until(
                ports, lambda scraped: all(attempts(scraped, *how) for how in ended) and all(failed in found for found in scraped)
            )
        finally:
            for worker in workers:
                worker.send_signal(signal.SIGTERM)
            codes = [worker.wait(60) for worker in workers]
        db = conn.db()
    assert [0, 0] == codes

    # Sentry: the one error that nobody expected, once, with its job and its data.
    assert ("ValueError", "no such month") == tuple(told["exception"]["values"][0][key] for key in ("type", "value"))
    assert {"job/type": ":bad", "job/id": "b1", "job/attempt": 1, "month": 13} == told["extra"]
    assert came.empty()

    # Schedules: no second is missing, none is there twice.
    jobs = factstore.q("[:find ?nominal ?id :where [?j :job/nominal ?nominal] [?j :job/id ?id]]", db)
    nominals = sorted(nominal for nominal, _ in jobs)
    assert [nominals[0] + timedelta(seconds=n) for n in range(len(jobs))] == nominals

    # Logs: what a library said inside a handler knows its job; every event is a line.
    lines = [json.loads(line) for n in range(2) for line in (tmp_path / f"w{n}.log").read_text().splitlines()]
    said = {line["job_id"] for line in lines if line["logger"] == "a.library"}
    ran = set(factstore.q("[:find [?id ...] :where [?j :job/type :say] [?j :job/status :job.status/finished] [?j :job/id ?id]]", db))
    assert ran == said
    assert {"b1", "q1"} == {line["job_id"] for line in lines if line.get("event") == "failed"}

    # Metrics: each worker counts its own attempts, and all count the same jobs.
    assert [1, 1] == [attempts(scraped, "failed", ":bad"), attempts(scraped, "aborted", ":quiet")]
    assert [1, 1] == [found[failed] for found in scraped]


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_attempts_of_a_graph_are_spans_linked_along_its_edges(conn, executor):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("app")

    def traced(job):
        with tracer.start_as_current_span(f"inside {job.type}"):
            pass

    conn.transact(graph_txns({"a": [], "b": ["a"]}))
    Worker(conn, {"a": traced, "b": traced}, Config(listeners=[Tracing(provider)], executor=executor)).run(until_idle=True)
    provider.shutdown()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert ["inside :a", "inside :b", "process :a", "process :b"] == sorted(spans)
    assert spans["process :a"].context.span_id == spans["inside :a"].parent.span_id
    assert [spans["process :a"].context.span_id] == [link.context.span_id for link in spans["process :b"].links]


def test_what_ends_a_worker_is_told_before_it_ends(conn, monkeypatch):
    def breaks(self):
        raise OSError("disk")

    monkeypatch.setattr(Monitor, "look", breaks)
    told = []
    worker = Worker(conn, {"a": lambda job: None}, Config(listeners=[told.append], heartbeat_sleep_time=30))
    with pytest.raises(OSError, match="disk"):
        worker.run()
    assert [("disk", worker.name)] == [(str(event.error), event.worker) for event in told if isinstance(event, events.Fatal)]
