"""What the job layer reads of a database one job at a time: point look-ups, no queries.

Knows no connection and writes nothing.
"""

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
    """Return a job's status; None for what is no job."""
    found: Status | None = value(db, job, ":job/status")
    return found


def name(db: Database, job: int) -> str:
    """Return a job's `:job/id`; of an entity that is no job, its entity id in words."""
    return str(value(db, job, ":job/id", f"entity {job}"))


def lost_parents(db: Database, job: int) -> list[tuple[int, int]]:
    """Return the parents of a job that ended badly, each with the job on whose account it was given up, or itself."""
    lost = [parent for parent in parents(db, job) if status(db, parent) in (FAILED, ABORTED)]
    return [(parent, value(db, parent, ":job/cause", parent)) for parent in lost]


def unique_keys(db: Database, job: int) -> list[int]:
    """Return the entities of the unique keys that a job has, or had before another job got them."""
    ever = {datom.e for datom in db.history().datoms("vaet", job, ":unique/job")}
    return [key for key in sorted(ever) if value(db, key, ":unique/key") is not None]


def key_holder(db: Database, key: int) -> int | None:
    """Return the live job that has a unique key; None when there is none."""
    holder = value(db, key, ":unique/job")
    return holder if holder is not None and status(db, holder) in LIVE else None


def revivable(db: Database, jobs: Iterable[int]) -> list[int]:
    """Return those of these ended jobs that can be live together: of a unique key, the last holder, if no live job has the key."""
    taken: set[int] = set()
    found = []
    for job in sorted(
        jobs, key=lambda job: all(value(db, key, ":unique/job") == job for key in unique_keys(db, job)), reverse=True
    ):
        keys = unique_keys(db, job)
        if all(key_holder(db, key) in (None, job) and key not in taken for key in keys):
            taken.update(keys)
            found.append(job)
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


def fallout(db: Database, ended: Mapping[int, Status], known: Mapping[int, Status] = _NOTHING_ASSUMED) -> list[int]:
    """Return the unstarted jobs that could never run once these jobs have ended so, those that depend on them included.

    Args:
        known: what other jobs will have come to by then; those that this dooms are not returned again.
    """
    assumed = {**known, **ended}
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
    """Tell whether an unstarted job can never run now that a parent has come to an end.

    The other parents are read only by the rule `any`, and only where there are few: where there are many, the end of
    each would read all of them, and the job is left to the workers, who keep count of its parents and give it up.
    """
    rule = rule_named(value(db, child, ":job/rule"))
    if rule is None or end not in rule.rejects or status(db, child) != UNSTARTED:
        return False
    if not rule.one_suffices:
        return True
    few = len(list(islice(db.datoms("eavt", child, ":job/dep"), _FEW + 1))) <= _FEW
    return few and readiness(db, child, assumed) == DOOMED
