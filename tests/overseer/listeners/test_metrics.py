"""What a scrape tells, read as Prometheus would: over HTTP, or from the registry."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import factstore
from overseer import OverseerError, job_txn
from overseer.events import Claimed
from overseer.jobs.states import STATUSES
from overseer.listeners import metrics as module
from overseer.listeners.metrics import JobsCollector, Metrics, jobs_by_type_status_and_queue, serve
from overseer.planning.timing import ready_since
from tests.overseer.by_hand import moved
from tests.overseer.listeners import told

LABELS = {"type": ":mail/send", "queue": ":mail"}


@pytest.fixture
def registry():
    return CollectorRegistry()


def test_attempts_are_counted_by_how_they_ended(registry):
    metrics = Metrics(registry)
    for event in [*told.all_kinds()[1:], told.failed(ValueError("no"), aborted=True)]:
        metrics(event)
    outcomes = ["finished", "failed", "aborted", "retried", "lost", "released"]
    assert [1.0] * 6 == [registry.get_sample_value("overseer_attempts_total", {**LABELS, "outcome": outcome}) for outcome in outcomes]
    assert 0.25 == registry.get_sample_value("overseer_attempt_seconds_sum", {**LABELS, "outcome": "finished"})
    assert 1.0 == registry.get_sample_value("overseer_rescued_total", LABELS)


def test_how_long_a_job_waited_for_its_claim_is_told_by_the_facts(registry, conn):
    conn.transact([job_txn("mail/send", id="1")])
    db = conn.transact([moved(conn.db(), "1", ":job.status/started")]).db_after
    job = db.entid([":job/id", "1"])
    claimed_at = ready_since(db, job) + timedelta(seconds=0.3)
    Metrics(registry)(Claimed(**{**told.about(told.lease(job=job)), "at": claimed_at}, db=db))
    buckets = {le: registry.get_sample_value("overseer_claim_latency_seconds_bucket", {**LABELS, "le": le}) for le in ("0.25", "0.5")}
    assert {"0.25": 0.0, "0.5": 1.0} == buckets


def test_jobs_are_counted_in_the_facts_by_type_status_and_queue(conn):
    conn.transact([{":db/ident": ":job/queue", ":db/valueType": ":db.type/keyword", ":db/cardinality": ":db.cardinality/one"}])
    conn.transact([{**job_txn("a", id=status.name), ":job/status": status} for status in STATUSES])
    conn.transact([job_txn("a", {":job/queue": ":slow"}, id="q1"), job_txn("b", {":job/queue": ":slow"}, id="q2")])
    expected = [(":a", "aborted", "", 1), (":a", "failed", "", 1), (":a", "finished", "", 1), (":a", "started", "", 1)]
    expected += [(":a", "unstarted", "", 1), (":a", "unstarted", ":slow", 1), (":b", "unstarted", ":slow", 1)]
    assert expected == jobs_by_type_status_and_queue(conn.db())


def test_a_store_without_jobs_has_none():
    with factstore.connect("memory:") as bare:
        assert [] == jobs_by_type_status_and_queue(bare.db())


def test_a_scrape_counts_anew_only_when_the_store_moved_and_time_has_passed(conn, monkeypatch):
    counted, now = [], [0.0]
    count = module.jobs_by_type_status_and_queue
    monkeypatch.setattr(module, "jobs_by_type_status_and_queue", lambda db: counted.append(db.basis_t) or count(db))
    collector = JobsCollector(conn, fresh_for=10, clock=lambda: now[0])

    def scrape():
        return [sample.value for family in collector.collect() for sample in family.samples]

    assert [] == scrape()
    conn.transact([job_txn("a", id="1")])
    assert [] == scrape()
    now[0] = 11.0
    assert [1] == scrape()
    now[0] = 22.0
    assert [1] == scrape()
    assert 2 == len(counted)


def test_metrics_are_served_over_http_until_they_are_closed(conn):
    conn.transact([job_txn("mail/send", id="1")])
    served = serve(conn, 0)
    for event in told.all_kinds()[1:]:
        served(event)
    url = f"http://127.0.0.1:{served.port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
    assert [({"type": ":mail/send", "status": "unstarted", "queue": ""}, 1.0)] == [
        (sample.labels, sample.value) for sample in families["overseer_jobs"].samples
    ]
    assert {"overseer_attempts", "overseer_attempt_seconds", "overseer_rescued", "process_cpu_seconds"} <= families.keys()
    served.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=10)


def test_without_its_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(OverseerError, match=r"install factstore\[metrics\]"):
        Metrics()
