"""Rescue: jobs are taken from workers that no longer renew their leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from factstore import FactStoreError
from overseer.errors import is_busy
from overseer.jobs import lookup, txns
from overseer.jobs.crashes import crash_outcome
from overseer.jobs.leases import expired, standing_of
from overseer.jobs.states import ABORTED, CRASHES, LIVE, STARTED, UNSTARTED, Forms, Lease, Standing, Status, is_orphaned
from overseer.jobs.store.commit import committed

if TYPE_CHECKING:
    from factstore import Connection, Database

_BATCH: Final = 500  # jobs rescued in one transaction; other workers renew their leases between two of them

Rescued: TypeAlias = list[tuple[Lease, Status]]  # the lease that a job had, and the status that it has now


def rescue(
    conn: Connection, worker: str, seen: Mapping[int, Standing] | None, max_crashes: int, within: float
) -> Rescued | None:
    """Take jobs from silent workers; see `JobStore.rescue`.

    Each transaction requires that the leases are those that were read, so it takes no job whose lease was renewed.
    """
    before = conn.db()
    waiting = dict(expired(before, conn.now()) if seen is None else seen)
    started = before.datoms("avet", ":job/status", STARTED)
    held = Counter(lookup.value(before, datom.e, ":job/worker") for datom in started)
    rescued: Rescued = []
    while waiting:
        batch = dict(islice(waiting.items(), _BATCH))
        taken, forms = _rescue_forms(conn, conn.db(), batch, max_crashes, held)
        try:
            if forms and not committed(conn, [*txns.promptly(within), *forms, txns.signed(worker)]):
                continue
        except FactStoreError as error:
            if error.code == txns.LATE or is_busy(error):
                return rescued or None
            raise
        rescued += taken
        for job in batch:
            del waiting[job]
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
            forms += [*txns.unrenewed(job, standing), *txns.take_orphaned(job)]
            taken.append((_lease_of(job, about, standing, worker), UNSTARTED))
            continue
        why, alone = f"its worker {worker} went silent", held.get(worker, 0) <= 1
        outcome = crash_outcome(count + 1, max_crashes=max_crashes, now=now, why=why, alone=alone)
        down: list[int] = []
        if outcome.status not in LIVE:
            down = lookup.doomed_dependents(db, {job: outcome.status}, ended)
            ended |= {job: outcome.status, **dict.fromkeys(down, ABORTED)}
        forms += [*txns.unrenewed(job, standing), *txns.rescue(job, outcome, count=count, dependents=down)]
        taken.append((_lease_of(job, about, standing, worker), outcome.status))
    return taken, forms


def _lease_of(job: int, about: Mapping[str, Any], standing: Standing, worker: str) -> Lease:
    return Lease(job, about[":job/id"], about[":job/type"], standing.attempt or 0, standing.token or "", worker)
