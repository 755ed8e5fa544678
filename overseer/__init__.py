"""overseer: durable jobs in dependency graphs, stored as facts.

A job is an entity in a fact store: it is inserted in the same transaction as the facts that it belongs to, every status
that it had stays in history, and one query joins jobs with other facts. A job runs at least once; at most one attempt's
result is recorded; facts that a handler returns are committed only together with that result.
"""

from __future__ import annotations

from overseer import cron, events, questions, retention, status
from overseer.errors import (
    ConfigError,
    EffectRepeated,
    GraphError,
    HandlerError,
    JobFailed,
    LeaseLost,
    NotEnded,
    OverseerError,
    Verdict,
    WaitExpired,
)
from overseer.handler import abort, abort_silent, fault, harness, snooze
from overseer.jobs.graph import Graph, after, job_graph, simple_graph, validate_graph_handlers
from overseer.jobs.job import Job, Result
from overseer.jobs.queues import queue
from overseer.jobs.store import JobStore, install, transact_graph
from overseer.jobs.txns import graph_txns, job_txn, once, unique
from overseer.jobs.waits import When, when
from overseer.planning.plan import Plan, plan
from overseer.retry import Retry, constant, exponential
from overseer.reverting import revert
from overseer.typed.app import App
from overseer.typed.graphs import JobGraph, Node
from overseer.typed.ref import JobRef
from overseer.typed.returns import Facts
from overseer.typed.typed_job import TypedJob
from overseer.worker import Config, Running, Worker, start

__all__ = [
    "App",
    "Config",
    "ConfigError",
    "EffectRepeated",
    "Facts",
    "Graph",
    "GraphError",
    "HandlerError",
    "Job",
    "JobFailed",
    "JobGraph",
    "JobRef",
    "JobStore",
    "LeaseLost",
    "Node",
    "NotEnded",
    "OverseerError",
    "Plan",
    "Result",
    "Retry",
    "Running",
    "TypedJob",
    "Verdict",
    "WaitExpired",
    "When",
    "Worker",
    "abort",
    "abort_silent",
    "after",
    "constant",
    "cron",
    "events",
    "exponential",
    "fault",
    "graph_txns",
    "harness",
    "install",
    "job_graph",
    "job_txn",
    "once",
    "plan",
    "questions",
    "queue",
    "retention",
    "revert",
    "simple_graph",
    "snooze",
    "start",
    "status",
    "transact_graph",
    "unique",
    "validate_graph_handlers",
    "when",
]
