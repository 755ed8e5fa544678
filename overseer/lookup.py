"""What the job layer reads of a database one job at a time: point look-ups, no queries.

Knows no connection and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore import quoted
from overseer import job as rules
from overseer.errors import OverseerError
from overseer.job import ABORTED, DOOMED, UNSTARTED, Status

if TYPE_CHECKING:
    from factstore import Database


def value(db: Database, e: int, attribute: str, default: Any = None) -> Any:
    """Return the value of a cardinality-one attribute, or `default` when there is none."""
    return next((datom.v for datom in db.datoms("eavt", e, attribute)), default)


def parents(db: Database, job: int) -> list[int]:
    """Return the jobs that a job depends on."""
    return [datom.v for datom in db.datoms("eavt", job, ":job/dep")]


def children(db: Database, job: int) -> list[int]:
    """Return the jobs that depend on a job."""
    return [datom.e for datom in db.datoms("vaet", job, ":job/dep")]


def status(db: Database, job: int) -> Status | None:
    """Return a job's status; None for what is no job."""
    found: Status | None = value(db, job, ":job/status")
    return found


def named(db: Database, job: int | str) -> int:
    """Return the entity of a job given by `:job/id`, or by entity id.

    Raises: OverseerError(:job.error/no-such-job).
    """
    eid = job if isinstance(job, int) else db.entid([":job/id", job])
    if eid is None or value(db, eid, ":job/id") is None:
        raise OverseerError(":job.error/no-such-job", f"there is no job {quoted(job)}", job=job)
    return eid


def attributes(db: Database, job: int) -> dict[str, Any]:
    """Return everything known of a job by attribute; values of many-valued attributes as lists."""
    found: dict[str, Any] = {}
    idents: dict[int, tuple[str, bool]] = {}
    for datom in db.datoms("eavt", job):
        if datom.a not in idents:
            attribute = db.schema.attribute(datom.a)
            idents[datom.a] = (attribute.ident, attribute.many)
        ident, many = idents[datom.a]
        if many:
            found.setdefault(ident, []).append(datom.v)
        else:
            found[ident] = datom.v
    return found


def attributes_of(db: Database, jobs: Sequence[int]) -> list[dict[str, Any]]:
    """Return what `attributes` does of each job, its entity id among it as `:db/id`; parts of a job are maps."""
    found: list[dict[str, Any]] = []
    for job, pulled in zip(jobs, factstore.pull_many(db, "[*]", jobs), strict=True):
        known = pulled or {}
        if any(type(value) is list and len(value) == _PULL_LIMIT for value in known.values()):
            found.append({":db/id": job, **attributes(db, job)})
        else:
            found.append({attribute: _plain(value) for attribute, value in known.items()})
    return found


_PULL_LIMIT: Final = 1000  # pull leaves out what an attribute has beyond so many values


def _plain(value: Any) -> Any:
    if type(value) is dict and len(value) == 1:
        return value.get(":db/id", value)
    return [_plain(item) for item in value] if type(value) is list else value


def verdict(db: Database, job: int, assumed: dict[int, Status]) -> str:
    """Return what a job's rule says of its parents, of which some are assumed to have another status than the database says."""
    statuses = (assumed.get(parent) or status(db, parent) or UNSTARTED for parent in parents(db, job))
    return rules.verdict(value(db, job, ":job/rule"), statuses)


def fallout(db: Database, ended: dict[int, Status]) -> list[int]:
    """Return the unstarted jobs that could never run once these jobs have ended so, those that depend on them included."""
    assumed = dict(ended)
    doomed: list[int] = []
    front: Iterable[int] = list(ended)
    while front:
        touched = dict.fromkeys(child for job in front for child in children(db, job))
        front = [c for c in touched if c not in assumed and status(db, c) == UNSTARTED and verdict(db, c, assumed) == DOOMED]
        assumed.update(dict.fromkeys(front, ABORTED))
        doomed += front
    return doomed
