"""Jobs whose worker died: their outcome, and the jobs that run alone because of crashes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from factstore import Keyword
from overseer.jobs.states import CRASHES, FAILED, UNSTARTED, Outcome, Reason
from overseer.retry import CRASH_BACKOFF


def suspect_from(max_crashes: int) -> int:
    """Return the number of crashes from which a job runs only alone, because one more would fail it."""
    return max(1, max_crashes - 1)


def without_suspects(jobs: list[dict[str, Any]], crashes: int, alone: bool) -> list[dict[str, Any]]:
    """Return the jobs that may run together; or one suspect, if no other job is held.

    Args:
        crashes: number of crashes from which a job is a suspect.
        alone: whether the worker holds no other job.
    """
    suspects = [about for about in jobs if about.get(CRASHES, 0) >= crashes]
    if suspects and alone:
        return suspects[:1]
    return [about for about in jobs if about not in suspects] if suspects else jobs


def crash_outcome(crashes: int, *, max_crashes: int, now: datetime, why: str, alone: bool = True) -> Outcome:
    """Return the outcome of an attempt during which the worker, or a process of it, died.

    Args:
        crashes: the number of crashes of the job, this one included.
        alone: whether no other job ran there; otherwise another job may have been the cause, and this one is not
            failed.
    """
    failure = {Keyword(":reason"): Reason.WORKER_DIED, Keyword(":message"): why, Keyword(":crashes"): crashes}
    if crashes >= max_crashes and alone:
        return Outcome(FAILED, reason=Reason.WORKER_DIED, failure=failure, counts=CRASHES)
    # The first crash is most likely a deployment or a lost machine, so the job runs again at once. Later it is a
    # suspect.
    pause = timedelta(seconds=CRASH_BACKOFF(crashes - 1)) if crashes > 1 else timedelta(0)
    return Outcome(UNSTARTED, reason=Reason.LEASE_EXPIRED, failure=failure, run_at=now + pause, counts=CRASHES)
