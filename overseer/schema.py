"""The attributes of a job, as transaction data: `install` transacts them; the store has no other knowledge of jobs.

There are no timestamps, because every fact has its transaction, and every transaction its instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from factstore import Database

# The store's own predicates.
INSERT_ONLY: Final = "db/insert-only"  # the attribute can only be asserted for new entities
CAS_ONLY: Final = "db/cas-only"  # its value can only be replaced by :db/cas, as this package does

# ident, type, properties, doc. Attributes that change at every heartbeat, or that only matter during a lease, have no
# history.
_ROWS: Final[tuple[tuple[str, str, dict[str, Any], str], ...]] = (
    (
        "job/id",
        "string",
        {"unique": ":db.unique/identity", "preds": CAS_ONLY},
        "The public id of the job; a job is inserted once.",
    ),
    (
        "job/type",
        "keyword",
        {"index": True, "preds": INSERT_ONLY},
        "Chooses the handler; asserted once, so that no assertion restarts a job.",
    ),
    (
        "job/status",
        "keyword",
        {"index": True, "preds": CAS_ONLY},
        ":job.status/unstarted, started, finished, failed or aborted. Workers change it; by hand, use JobStore.retry, "
        "JobStore.abort or overseer.revert, or the commands `overseer retry`, `overseer abort` and `overseer revert`.",
    ),
    ("job/dep", "ref", {"many": True}, "The jobs that must end before this one may start."),
    ("job/rule", "keyword", {}, "Which ends of its dependencies a job accepts; :job.rule/all-success when absent."),
    ("job/run-at", "instant", {}, "The earliest start."),
    (
        "job/pause",
        "long",
        {"noHistory": True},
        "Milliseconds from its last attempt to :job/run-at, for observers of elapsed time.",
    ),
    ("job/queue", "keyword", {}, "The queue whose limits apply; a queue need not be declared."),
    ("job/priority", "long", {}, "Jobs of higher priority start first; 0 when absent."),
    (
        "job/partition",
        "string",
        {},
        "The value by which a queue's limit per partition counts: a tenant, an account, a host.",
    ),
    ("job/timeout", "long", {}, "Maximum duration of an attempt in milliseconds."),
    ("job/attempt", "long", {}, "Number of claims of the job; every write of an attempt must include it."),
    ("job/token", "string", {"noHistory": True}, "The lease of the attempt that holds the job."),
    (
        "job/lease-expires",
        "instant",
        {"noHistory": True},
        "The end of the lease, unless it is renewed.",
    ),
    ("job/worker", "string", {}, "The last process that claimed the job."),
    ("job/reason", "keyword", {}, "Why the last attempt ended, or why the job was aborted."),
    ("job/result", "string", {}, "The result for the jobs that depend on this one, as EDN."),
    ("job/failure", "string", {}, "The last error, as EDN."),
    ("job/cause", "ref", {}, "The job because of which this one was aborted."),
    ("job/failures", "long", {}, "Number of attempts that ended with an error of the handler."),
    ("job/faults", "long", {}, "Number of attempts whose handler requested another run."),
    ("job/crashes", "long", {}, "Number of consecutive attempts, up to the last, whose worker died."),
    ("queue/name", "keyword", {"unique": ":db.unique/identity"}, "A queue that has settings of its own."),
    ("queue/paused", "boolean", {}, "Whether no job of the queue may start."),
    (
        "queue/limit",
        "long",
        {},
        "Maximum number of its jobs that run at a time, on all workers together; -1: any number.",
    ),
    (
        "queue/partition-limit",
        "long",
        {},
        "Maximum number of jobs of one :job/partition that run at a time; -1: any number.",
    ),
    (
        "queue/rate",
        "long",
        {},
        "Maximum number of its jobs that start in a period, on all workers together; -1: any number.",
    ),
    ("queue/period", "long", {}, "The period of :queue/rate in milliseconds; 1000 when absent."),
    (
        "queue/starts",
        "string",
        {"noHistory": True},
        "Number of jobs that started under its rate, and when the latest did: microsecond:count.",
    ),
    ("unique/key", "string", {"unique": ":db.unique/identity"}, "A uniqueness key: at most one live job has it."),
    ("unique/job", "ref", {}, "The last job with the key."),
    (
        "unique/inserted",
        "instant",
        {"noHistory": True},
        "When that job was inserted, by the clock; only if instants were ahead of it.",
    ),
    ("effect/key", "string", {"unique": ":db.unique/identity"}, "An effect outside of the store, declared once."),
    ("effect/job", "ref", {}, "The job whose attempt declared the effect."),
    ("effect/attempt", "long", {}, "The number of that attempt."),
    ("overseer/by", "string", {}, "On a transaction: the process that made it, if that is not the job's own worker."),
)

_MORE_ROWS: Final[tuple[tuple[str, str, dict[str, Any], str], ...]] = (
    ("schedule/id", "string", {"unique": ":db.unique/identity"}, "The schedule's name."),
    ("schedule/cron", "string", {}, "When jobs are due, as a cron expression."),
    ("schedule/timezone", "string", {}, "The IANA time zone of the expression; UTC when absent."),
    ("schedule/type", "keyword", {}, "The type of the jobs."),
    ("schedule/args", "string", {}, "Attributes of the jobs, as EDN."),
    ("schedule/missed", "keyword", {}, "The policy for missed times: :schedule.missed/skip, last or all."),
    ("schedule/grace", "long", {}, "Milliseconds after which a time counts as missed; a minute when absent."),
    ("schedule/paused", "boolean", {}, "Whether the schedule is stopped."),
    ("schedule/last", "instant", {"noHistory": True}, "The newest nominal time that became a job."),
    ("job/schedule", "ref", {}, "The schedule that inserted the job."),
    ("job/nominal", "instant", {}, "The time of the schedule for which the job was inserted."),
    ("job/trace-parent", "string", {}, "The span in which the job was inserted, in the format of the W3C."),
    ("job/trace", "string", {}, "The span of the attempt that finished the job, in the format of the W3C."),
    ("job/waits", "ref", {"many": True, "isComponent": True}, "The waits of the job that began, or that held at once."),
    ("job/wait", "ref", {}, "The wait that the job is in, until its query holds."),
    ("job/steps", "ref", {"many": True, "isComponent": True}, "The steps of the job whose results are kept."),
    ("wait/key", "string", {"unique": ":db.unique/identity"}, "The id of the job, and the name of the wait."),
    ("wait/for", "string", {}, "The query that must hold, with its inputs after the database, as EDN."),
    ("wait/until", "instant", {}, "The deadline."),
    ("wait/t", "long", {}, "The t of the database in which the query held."),
    ("wait/question", "string", {}, "The question whose answer the job waits for."),
    ("wait/options", "string", {}, "The possible answers, as EDN; empty: any text."),
    ("wait/answer", "string", {}, "The answer; its transaction has the name of its author as :overseer/by."),
    ("step/key", "string", {"unique": ":db.unique/identity"}, "The id of the job, and the name of the step."),
    ("step/result", "string", {}, "The result of the step, as EDN."),
    ("step/attempt", "long", {}, "The number of the attempt that ran the step."),
    (
        "job/progress",
        "string",
        {"noHistory": True},
        "The newest report of job.progress, as EDN: attempt, done, of, text.",
    ),
    ("job/logs", "string", {}, "The last lines that the handler of the last attempt logged, if a worker keeps them."),
    (
        "job/refused",
        "long",
        {"many": True},
        "Numbers of attempts that lost the job and came back later; their outcomes were rejected.",
    ),
    ("worker/name", "string", {"unique": ":db.unique/identity"}, "One run of a worker; asserted when it starts."),
    ("worker/host", "string", {}, "The machine of the worker."),
    ("worker/pid", "long", {}, "The process of the worker on that machine."),
    ("worker/version", "string", {}, "The version of factstore that the worker runs."),
    ("worker/queue", "keyword", {"many": True}, "A queue from which the worker takes jobs; all queues when absent."),
    ("worker/handler", "keyword", {"many": True}, "A type of jobs for which the worker has a handler."),
    ("worker/slots", "long", {}, "The number of handlers that may run at a time."),
    ("worker/running", "boolean", {}, "Whether the worker runs; a worker that was killed cannot set it to false."),
    ("worker/beat", "instant", {"noHistory": True}, "When the worker last renewed its leases; an idle one has none."),
    ("overseer/reverts", "ref", {}, "On a transaction: the transaction that it reverts."),
)


def _declaration(name: str, value_type: str, properties: dict[str, Any], doc: str) -> dict[str, Any]:
    many = properties.get("many", False)
    predicates = {":db.attr/preds": properties["preds"]} if "preds" in properties else {}
    return {
        ":db/ident": f":{name}",
        ":db/valueType": f":db.type/{value_type}",
        ":db/cardinality": ":db.cardinality/many" if many else ":db.cardinality/one",
        ":db/doc": doc,
        **{f":db/{key}": value for key, value in properties.items() if key not in ("many", "preds")},
        **predicates,
    }


ATTRIBUTES: Final[tuple[dict[str, Any], ...]] = tuple(_declaration(*row) for row in (*_ROWS, *_MORE_ROWS))


def missing_from(db: Database) -> list[dict[str, Any]]:
    """Return the declarations that a store lacks, or has without the predicate that protects jobs."""
    return [attribute for attribute in ATTRIBUTES if not _is_installed(db, attribute)]


def _is_installed(db: Database, attribute: dict[str, Any]) -> bool:
    ident = attribute[":db/ident"]
    if db.entid(ident) is None:
        return False
    installed = db.schema.attribute(ident)
    protects = {INSERT_ONLY: installed.insert_only, CAS_ONLY: installed.cas_only, None: True}
    return protects[attribute.get(":db.attr/preds")]
