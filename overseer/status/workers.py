"""Workers as they described themselves, with the jobs that they hold."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import Keyword
from overseer.jobs import lookup
from overseer.jobs.reports import Progress, read_report
from overseer.jobs.states import STARTED
from overseer.sources import of_database
from overseer.status.silence import silent_workers

if TYPE_CHECKING:
    from factstore import Database


@factstore.rendering.shown_as_record
class WorkerInfo(NamedTuple):
    """One run of a worker."""

    name: str
    host: str | None
    pid: int | None
    version: str | None
    handlers: tuple[Keyword, ...]
    queues: tuple[Keyword, ...] | None  # None: all queues
    slots: int | None  # the number of handlers that may run at a time
    began: datetime | None
    ended: datetime | None  # None: it runs, or was killed and is silent
    beat: datetime | None  # when it last renewed its leases; the past of this value is not kept
    jobs: tuple[str, ...]  # ids of the jobs that it holds
    is_silent: bool = False  # whether it is presumed dead: a lease has expired, or a job was taken from it

    @property
    def state(self) -> str:
        """`ended`, `silent` or `runs`."""
        return "ended" if self.ended else "silent" if self.is_silent else "runs"


_HELD: Final = """[:find ?worker ?id :where [?j :job/status :job.status/started] [?j :job/worker ?worker]
                                            [?j :job/id ?id]]"""


@of_database
def workers(db: Database, *, ended: bool = False, at: datetime | None = None) -> list[WorkerInfo]:
    """Return the workers that run, the one that started last first.

    A worker that was killed could not record its end, so it is listed too. It is silent once the lease of a job that it
    holds has expired, and also when other workers have taken its jobs. A worker that was killed while it held no job
    looks the same as an idle one.

    Args:
        ended: also return workers that have ended.
        at: the time; None is the time that the database is as of, or now.
    """
    if db.entid(":worker/name") is None:
        return factstore.rendering.Records()
    held: dict[str, list[str]] = {}
    for worker, id in factstore.q(_HELD, db):
        held.setdefault(worker, []).append(id)
    silent = silent_workers(db, held, at=at)
    infos = (_worker(db, datom.e, datom.tx, held, silent) for datom in db.datoms("aevt", ":worker/name"))
    chosen = [info for info in infos if ended or info.ended is None]
    newest_first = sorted(chosen, key=lambda info: (info.began is not None, info.began, info.name), reverse=True)
    return factstore.rendering.Records(newest_first)


def _worker(db: Database, entity: int, began: int, held: dict[str, list[str]], silent: Set[str]) -> WorkerInfo:
    about: dict[str, Any] = lookup.attributes(db, entity)
    queues = about.get(":worker/queue")
    ended = [datom.tx for datom in db.datoms("eavt", entity, ":worker/running") if datom.v is False]
    return WorkerInfo(
        name=about[":worker/name"],
        host=about.get(":worker/host"),
        pid=about.get(":worker/pid"),
        version=about.get(":worker/version"),
        handlers=tuple(sorted(about.get(":worker/handler", ()))),
        queues=None if queues is None else tuple(sorted(queues)),
        slots=about.get(":worker/slots"),
        began=db.instant_of(db.t_at(began)),
        ended=db.instant_of(db.t_at(ended[0])) if ended else None,
        beat=about.get(":worker/beat"),
        jobs=tuple(sorted(held.get(about[":worker/name"], ()))),
        is_silent=not ended and about[":worker/name"] in silent,
    )


@of_database
def progress(db: Database, job: int | str) -> Progress | None:
    """Return the newest report of a running attempt; None if the job does not run, or its attempt reported nothing."""
    eid = lookup.named(db, job)
    text = lookup.value(db, eid, ":job/progress") if lookup.status(db, eid) == STARTED else None
    report = None if text is None else read_report(text)
    return report if report is not None and report.attempt == lookup.value(db, eid, ":job/attempt") else None
