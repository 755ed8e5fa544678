"""The attributes of a job, as tx-data: `install` transacts them, and nothing else about jobs is built into the store.

There are no timestamps: every fact knows its transaction, and every transaction its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from factstore import Database

# The store's own predicates.
INSERT_ONLY: Final = "db/insert-only"  # the attribute is asserted of new entities only
CAS_ONLY: Final = "db/cas-only"  # its value is replaced by :db/cas only, as the functions of this package do it

# ident, type, properties, doc. What changes at every heartbeat, or only matters while a lease lives, keeps no history.
_ROWS: Final[tuple[tuple[str, str, dict[str, Any], str], ...]] = (
    (
        "job/id",
        "string",
        {"unique": ":db.unique/identity", "preds": CAS_ONLY},
        "The job's name for the outside; a job is inserted once.",
    ),
    (
        "job/type",
        "keyword",
        {"index": True, "preds": INSERT_ONLY},
        "Chooses the handler; given once, so that no assertion restarts a job.",
    ),
    (
        "job/status",
        "keyword",
        {"index": True, "preds": CAS_ONLY},
        ":job.status/unstarted, started, finished, failed or aborted. Workers move it; by hand, use JobStore.retry, JobStore.abort or "
        "overseer.revert, or the commands `overseer retry`, `overseer abort` and `overseer revert`.",
    ),
    ("job/dep", "ref", {"many": True}, "The jobs that must end before this one may start."),
    ("job/rule", "keyword", {}, "Which ends of its dependencies a job accepts; :job.rule/all-success when absent."),
    ("job/run-at", "instant", {}, "Not before this time."),
    (
        "job/pause",
        "long",
        {"noHistory": True},
        "Milliseconds from its last attempt to :job/run-at, for those who measure elapsed time.",
    ),
    ("job/queue", "keyword", {}, "The queue whose limits it keeps to; a queue need not be declared."),
    ("job/priority", "long", {}, "Jobs of higher priority start first; 0 when absent."),
    ("job/partition", "string", {}, "What a queue's limit per partition counts by: a tenant, an account, a host."),
    ("job/timeout", "long", {}, "Milliseconds that an attempt may take."),
    ("job/attempt", "long", {}, "How often the job was claimed; every write of an attempt must name it."),
    ("job/token", "string", {"noHistory": True}, "The lease of the attempt that holds the job."),
    (
        "job/lease-expires",
        "instant",
        {"noHistory": True},
        "When others may take the job from a worker that went silent.",
    ),
    ("job/worker", "string", {}, "The process that claimed the job last."),
    ("job/reason", "keyword", {}, "Why the job last left a run, or was given up."),
    ("job/result", "string", {}, "What the job leaves to those that depend on it, as EDN."),
    ("job/failure", "string", {}, "What went wrong last, as EDN."),
    ("job/cause", "ref", {}, "The job on whose account this one was given up."),
    ("job/failures", "long", {}, "How many attempts ended with an error of the handler."),
    ("job/faults", "long", {}, "How many attempts ended with the handler asking to be run again."),
    ("job/crashes", "long", {}, "How many attempts in a row, up to the last, ended with their worker going silent."),
    ("queue/name", "keyword", {"unique": ":db.unique/identity"}, "A queue that has settings of its own."),
    ("queue/paused", "boolean", {}, "Whether no job of the queue may start."),
    ("queue/limit", "long", {}, "How many of its jobs may run at a time, on all workers together; -1: any number."),
    ("queue/partition-limit", "long", {}, "How many jobs of one :job/partition may run at a time; -1: any number."),
    ("queue/rate", "long", {}, "How many of its jobs may start in a period, on all workers together; -1: any number."),
    ("queue/period", "long", {}, "Milliseconds that :queue/rate is about; 1000 when absent."),
    (
        "queue/starts",
        "string",
        {"noHistory": True},
        "How many jobs started under its rate, and when the latest did: microsecond:count.",
    ),
    ("unique/key", "string", {"unique": ":db.unique/identity"}, "A key that one live job may have at a time."),
    ("unique/job", "ref", {}, "The job that had the key last."),
    (
        "unique/inserted",
        "instant",
        {"noHistory": True},
        "When that was, by the clock, where instants were ahead of it.",
    ),
    ("overseer/by", "string", {}, "On a transaction: who made it, where that is not the job's own worker."),
)

_MORE_ROWS: Final[tuple[tuple[str, str, dict[str, Any], str], ...]] = (
    ("schedule/id", "string", {"unique": ":db.unique/identity"}, "The schedule's name."),
    ("schedule/cron", "string", {}, "When jobs are due, as a cron expression."),
    ("schedule/timezone", "string", {}, "The IANA zone whose clocks the expression is about; UTC when absent."),
    ("schedule/type", "keyword", {}, "The type of the jobs."),
    ("schedule/args", "string", {}, "Attributes of the jobs, as EDN."),
    ("schedule/missed", "keyword", {}, "What becomes of missed times: :schedule.missed/skip, last or all."),
    ("schedule/grace", "long", {}, "Milliseconds after which a time counts as missed; a minute when absent."),
    ("schedule/paused", "boolean", {}, "Whether nothing becomes due."),
    ("schedule/last", "instant", {"noHistory": True}, "The newest nominal time that became a job."),
    ("job/schedule", "ref", {}, "The schedule by which the job was enqueued."),
    ("job/nominal", "instant", {}, "The time of the schedule that the job stands for."),
    ("job/trace-parent", "string", {}, "The span in which the job was enqueued, in W3C's form."),
    ("job/trace", "string", {}, "The span of the attempt that finished the job, in W3C's form."),
    ("overseer/reverts", "ref", {}, "On a transaction: the one that it takes back."),
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
    """Return the declarations that a store lacks, wholly or in what protects known jobs: an earlier version may have installed it."""
    return [attribute for attribute in ATTRIBUTES if not _is_installed(db, attribute)]


def _is_installed(db: Database, attribute: dict[str, Any]) -> bool:
    ident = attribute[":db/ident"]
    if db.entid(ident) is None:
        return False
    known = db.schema.attribute(ident)
    protects = {INSERT_ONLY: known.insert_only, CAS_ONLY: known.cas_only, None: True}
    return protects[attribute.get(":db.attr/preds")]
