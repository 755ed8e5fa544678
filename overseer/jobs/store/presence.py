"""Workers as entities, for operators; no job depends on these facts. A worker that begins counts them as a hint.

    start ──► :worker/running true ──► :worker/beat with each renewal of leases ──► end: :worker/running false

Law: a worker commits one transaction when it starts and one when it ends. Meanwhile its beats are part of transactions
that renew leases anyway, so an idle worker writes nothing; attempts that it lost are recorded once a heartbeat. The
instants of the first and the last transaction are when it started and ended.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore import FactStoreError
from overseer.jobs import lookup, txns
from overseer.jobs.states import ABORTED, Forms, Lease

if TYPE_CHECKING:
    from factstore import Connection, Database, Keyword

log = logging.getLogger("overseer")

_RUNNING: Final = """[:find (count ?worker) . :in $ [?type ...]
                      :where [?worker :worker/running true] [?worker :worker/handler ?type]]"""
_BEAT: Final = "overseer/worker-beat"


class Presence:
    """Writes the facts of one worker. Before `begin` and after `end` it writes nothing."""

    def __init__(self, conn: Connection, worker: str) -> None:
        self._conn = conn
        self._worker = worker
        self._entity: int | None = None
        self._ending = Lock()  # the main loop ends it, and so does a worker that leaves in a hurry
        self._lost: deque[Lease] = deque()

    def begin(self, *, handlers: Iterable[Keyword], queues: Iterable[Keyword] | None, slots: int) -> None:
        """Assert that the worker runs, and how it is set up."""
        facts: dict[str, Any] = {
            ":db/id": "worker",
            ":worker/name": self._worker,
            ":worker/host": socket.gethostname(),
            ":worker/pid": os.getpid(),
            ":worker/version": _version(),
            ":worker/handler": sorted(handlers),
            ":worker/slots": slots,
            ":worker/running": True,
        }
        if queues is not None:
            facts[":worker/queue"] = sorted(queues)
        self._entity = self._conn.transact([facts]).tempids["worker"]

    def beat(self) -> Forms:
        """Return the forms of one beat, for a transaction that renews leases."""
        return [] if self._entity is None else [[_BEAT, self._entity]]

    def lost(self, lease: Lease) -> None:
        """Remember an attempt that lost its job and came back; any thread may call it."""
        self._lost.append(lease)

    def write_lost(self) -> None:
        """Record the remembered attempts in one transaction, so that people see why their jobs ran twice."""
        if self._lost and self._entity is not None:
            self._write([])

    def end(self) -> None:
        """Assert that the worker has ended. If that fails, it is logged: the worker ends anyway."""
        with self._ending:
            if self._entity is not None:
                self._write([[":db/add", self._entity, ":worker/running", False]])
                self._entity = None
                log.info("worker %s has ended", self._worker)

    def _write(self, forms: Forms) -> None:
        lost = [self._lost.popleft() for _ in range(len(self._lost))]
        db = self._conn.db()
        # An operator's abort is no second run, and a job that was pruned has no status.
        told = [lease for lease in lost if lookup.status(db, lease.job) not in (None, ABORTED)]
        forms = [*forms, *([":db/add", lease.job, ":job/refused", lease.attempt] for lease in told)]
        try:
            if forms:
                self._conn.transact([*forms, txns.signed(self._worker)])
        except FactStoreError as error:
            log.warning("worker %s could not write about itself: %s", self._worker, error.message)


def running(db: Database, types: Iterable[Keyword]) -> int:
    """Return the number of workers with a handler for one of these types that have not recorded their end."""
    return factstore.q(_RUNNING, db, list(types)) or 0


@factstore.register(_BEAT)
def _beat(db: Database, worker: int) -> Forms:
    """Transaction function: set when a worker last renewed its leases, by the clock."""
    return [[":db/add", worker, ":worker/beat", factstore.tx_clock()]]


def _version() -> str:
    try:
        return version("factstore")
    except PackageNotFoundError:  # it runs from a folder
        return "unknown"
