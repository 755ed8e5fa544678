"""Jobs whose worker died: what becomes of them, and which jobs run beside no other because of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from factstore import Keyword
from overseer.jobs.states import CRASHES, FAILED, UNSTARTED, Outcome, Reason
from overseer.retry import CRASH_BACKOFF


def suspect_from(max_crashes: int) -> int:
    """Return the crashes from which a job runs only beside no other, for one more would fail it."""
    return max(1, max_crashes - 1)


def apart(known: list[dict[str, Any]], crashes: int, alone: bool) -> list[dict[str, Any]]:
    """Return the jobs that may run beside each other; or one suspect, where no other job is held."""
    suspects = [about for about in known if about.get(CRASHES, 0) >= crashes]
    if suspects and alone:
        return suspects[:1]
    return [about for about in known if about not in suspects] if suspects else known


def crash_outcome(crashes: int, *, max_crashes: int, now: datetime, why: str, alone: bool = True) -> Outcome:
    """Return what becomes of a job for which a worker, or a worker's process, died for the `crashes`th time.

    Args:
        alone: whether no other job ran there. Otherwise it may have been another one, and this one is not failed for
            it.
    """
    failure = {Keyword(":reason"): Reason.WORKER_DIED, Keyword(":message"): why, Keyword(":crashes"): crashes}
    if crashes >= max_crashes and alone:
        return Outcome(FAILED, reason=Reason.WORKER_DIED, failure=failure, counts=CRASHES)
    # The first time is most likely a deploy or a lost machine, and nobody should wait for it; from then on the job is
    # suspect.
    pause = timedelta(seconds=CRASH_BACKOFF(crashes - 1)) if crashes > 1 else timedelta(0)
    return Outcome(UNSTARTED, reason=Reason.LEASE_EXPIRED, failure=failure, run_at=now + pause, counts=CRASHES)
