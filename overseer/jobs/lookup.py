"""Point look-ups of jobs in a database, without queries. This module uses no connection and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore import quoted
from overseer.errors import OverseerError
from overseer.jobs import dependency_rules
from overseer.jobs.dependency_rules import DOOMED, rule_named
from overseer.jobs.states import ABORTED, FAILED, LIVE, UNSTARTED, Status

if TYPE_CHECKING:
    from factstore import Database

_NOTHING_ASSUMED: Final[Mapping[int, Status]] = MappingProxyType({})


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
    """Return a job's status; None for an entity that is no job."""
    current: Status | None = value(db, job, ":job/status")
    return current


def name(db: Database, job: int) -> str:
    """Return a job's `:job/id`; for an entity that is no job, its entity id in words."""
    return str(value(db, job, ":job/id", f"entity {job}"))


def lost_parents(db: Database, job: int) -> list[tuple[int, int]]:
    """Return the failed and aborted parents of a job, each with the job that caused its abort, or itself."""
    lost = [parent for parent in parents(db, job) if status(db, parent) in (FAILED, ABORTED)]
    return [(parent, value(db, parent, ":job/cause", parent)) for parent in lost]


def unique_keys(db: Database, job: int) -> list[int]:
    """Return the entities of the unique keys that a job has, or had before another job took them."""
    ever = {datom.e for datom in db.history().datoms("vaet", job, ":unique/job")}
    return [key for key in sorted(ever) if value(db, key, ":unique/key") is not None]


def key_holder(db: Database, key: int) -> int | None:
    """Return the live job that has a unique key; None when there is none."""
    holder = value(db, key, ":unique/job")
    return holder if holder is not None and status(db, holder) in LIVE else None


def revivable(db: Database, jobs: Iterable[int]) -> list[int]:
    """Return the ended jobs that can be live together, given their unique keys.

    If several of them had the same key, it is the last one; if another live job has the key, it is none.
    """
    has_its_keys = {job: all(value(db, key, ":unique/job") == job for key in unique_keys(db, job)) for job in jobs}
    taken: set[int] = set()
    revived = []
    for job in sorted(has_its_keys, key=has_its_keys.__getitem__, reverse=True):
        keys = unique_keys(db, job)
        if all(key_holder(db, key) in (None, job) and key not in taken for key in keys):
            taken.update(keys)
            revived.append(job)
    return revived


def named(db: Database, job: int | str) -> int:
    """Return the entity of a job given by `:job/id`, or by entity id.

    Raises: OverseerError(:job.error/no-such-job).
    """
    eid = job if isinstance(job, int) else db.entid([":job/id", job])
    if eid is None or value(db, eid, ":job/id") is None:
        raise OverseerError(":job.error/no-such-job", f"there is no job {quoted(job)}", job=job)
    return eid


def attributes(db: Database, job: int) -> dict[str, Any]:
    """Return the attributes of a job, with a list for an attribute of cardinality many."""
    about: dict[str, Any] = {}
    idents: dict[int, tuple[str, bool]] = {}
    for datom in db.datoms("eavt", job):
        if datom.a not in idents:
            attribute = db.schema.attribute(datom.a)
            idents[datom.a] = (attribute.ident, attribute.many)
        ident, many = idents[datom.a]
        if many:
            about.setdefault(ident, []).append(datom.v)
        else:
            about[ident] = datom.v
    return about


def attributes_of(db: Database, jobs: Sequence[int]) -> list[dict[str, Any]]:
    """Return the attributes of each job, with its entity id as `:db/id`; a component of a job is a map."""
    rows: list[dict[str, Any]] = []
    for job, pulled in zip(jobs, factstore.pull_many(db, "[*]", jobs), strict=True):
        about = pulled or {}
        for value in about.values():
            if type(value) in _NESTED:
                about = _without_refs(db, job, about)
                break
        rows.append(about)
    return rows


_NESTED: Final = (list, dict)
_PULL_LIMIT: Final = 1000  # pull returns at most this many values of an attribute


def _without_refs(db: Database, job: int, pulled: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a job with an entity id for each ref."""
    if any(type(value) is list and len(value) == _PULL_LIMIT for value in pulled.values()):
        return {":db/id": job, **attributes(db, job)}
    return {attribute: _plain(value) for attribute, value in pulled.items()}


def _plain(value: Any) -> Any:
    if type(value) is dict and len(value) == 1:
        return value.get(":db/id", value)
    return [_plain(item) for item in value] if type(value) is list else value


def readiness(db: Database, job: int, assumed: Mapping[int, Status] = _NOTHING_ASSUMED) -> str:
    """Return whether a job is ready, waits, or is doomed, by its rule and the statuses of its parents.

    Args:
        assumed: statuses that some parents are assumed to have, instead of those in the database.
    """
    statuses = (assumed.get(parent) or status(db, parent) or UNSTARTED for parent in parents(db, job))
    return dependency_rules.readiness(value(db, job, ":job/rule"), statuses)


def doomed_dependents(
    db: Database, ended: Mapping[int, Status], others: Mapping[int, Status] = _NOTHING_ASSUMED
) -> list[int]:
    """Return the unstarted jobs that can never run after these jobs have ended, and their dependents.

    Args:
        others: the statuses that other jobs will have by then; jobs that these doom are not returned.
    """
    assumed = {**others, **ended}
    doomed: list[int] = []
    front: Iterable[int] = list(ended)
    while front:
        pairs = [(child, assumed[job]) for job in front for child in children(db, job)]
        front = list(
            dict.fromkeys(child for child, end in pairs if child not in assumed and _is_doomed(db, child, end, assumed))
        )
        assumed.update(dict.fromkeys(front, ABORTED))
        doomed += front
    return doomed


_FEW: Final = 100  # parents


def _is_doomed(db: Database, child: int, end: Status, assumed: Mapping[int, Status]) -> bool:
    """Tell whether an unstarted job can never run now that a parent has ended.

    The other parents are read only for a rule by which one parent suffices, and only if there are few. If there are
    many, the end of each would read all of them; then the job is left to the workers, which count its parents and abort
    it.
    """
    rule = rule_named(value(db, child, ":job/rule"))
    if rule is None or end not in rule.rejects or status(db, child) != UNSTARTED:
        return False
    if not rule.one_suffices:
        return True
    few = len(list(islice(db.datoms("eavt", child, ":job/dep"), _FEW + 1))) <= _FEW
    return few and readiness(db, child, assumed) == DOOMED
