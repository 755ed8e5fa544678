"""Rescue: jobs are taken from workers that no longer renew their leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from factstore import StorageError
from overseer.errors import is_busy
from overseer.jobs import lookup, txns
from overseer.jobs.crashes import crash_outcome
from overseer.jobs.leases import Standing, expired, standing_of
from overseer.jobs.states import ABORTED, CRASHES, LIVE, STARTED, UNSTARTED, Forms, Lease, Status, is_orphaned

if TYPE_CHECKING:
    from factstore import Connection, Database

_NOT_APPLIED: Final = ":db.error/storage-conflict"
_BATCH: Final = 500  # jobs rescued in one transaction; other workers renew their leases between two of them

Rescued: TypeAlias = list[tuple[Lease, Status]]  # the lease that a job had, and the status that it has now


def rescue(
    conn: Connection, worker: str, seen: Mapping[int, Standing] | None, max_crashes: int, within: float
) -> Rescued | None:
    """Take jobs from silent workers; see `JobStore.rescue`."""
    before = conn.db()
    waiting = dict(expired(before, conn.now()) if seen is None else seen)
    started = before.datoms("avet", ":job/status", STARTED)
    held = Counter(lookup.value(before, datom.e, ":job/worker") for datom in started)
    rescued: Rescued = []
    while True:
        batch = dict(islice(waiting.items(), _BATCH))
        requested = monotonic()
        try:
            with conn.transaction() as tx:  # no other process commits inside this block, so what is read stays true
                if monotonic() - requested > within:
                    return rescued or None
                taken, forms = _rescue_forms(conn, tx.db, batch, max_crashes, held)
                if forms:
                    tx.transact([*forms, txns.signed(worker)])
        except StorageError as error:
            if is_busy(error):
                return rescued or None
            if error.code != _NOT_APPLIED:
                raise
            continue
        rescued += taken
        for job in batch:
            del waiting[job]
        if not waiting:
            return rescued


def _rescue_forms(
    conn: Connection, db: Database, seen: Mapping[int, Standing], max_crashes: int, held: Mapping[str, int]
) -> tuple[Rescued, Forms]:
    """Return the jobs whose lease is still the one that was seen, with their next statuses, and the forms for that.

    Args:
        held: how many jobs each worker held. If a worker held several, it is not known which of them made it crash.
    """
    taken: Rescued = []
    forms: Forms = []
    ended: dict[int, Status] = {}
    now = conn.now()
    for (job, standing), about in zip(seen.items(), lookup.attributes_of(db, list(seen)), strict=True):
        if about.get(":job/status") != STARTED or standing_of(about) != standing:
            continue
        worker, count = about.get(":job/worker", "unknown"), about.get(CRASHES, 0)
        if is_orphaned(about):
            forms += txns.take_orphaned(job)
            taken.append((_lease_of(job, about, standing, worker), UNSTARTED))
            continue
        why, alone = f"its worker {worker} went silent", held.get(worker, 0) <= 1
        outcome = crash_outcome(count + 1, max_crashes=max_crashes, now=now, why=why, alone=alone)
        down: list[int] = []
        if outcome.status not in LIVE:
            down = lookup.doomed_dependents(db, {job: outcome.status}, ended)
            ended |= {job: outcome.status, **dict.fromkeys(down, ABORTED)}
        forms += txns.rescue(job, outcome, count=count, dependents=down)
        taken.append((_lease_of(job, about, standing, worker), outcome.status))
    return taken, forms


def _lease_of(job: int, about: Mapping[str, Any], standing: Standing, worker: str) -> Lease:
    return Lease(job, about[":job/id"], about[":job/type"], standing.attempt or 0, standing.token or "", worker)
