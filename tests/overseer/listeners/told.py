"""Events as a worker would tell them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from factstore import Keyword
from overseer.events import Claimed, Failed, Fatal, Finished, Lost, Released, Rescued, Retried, Started
from overseer.jobs.states import ABORTED, FAILED, UNSTARTED, Lease, Reason

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def lease(id: str = "j1", *, type: str = ":mail/send", attempt: int = 1, job: int = 1) -> Lease:
    return Lease(job=job, id=id, type=Keyword(type), attempt=attempt, token="secret", worker="host:1:aa")


def about(held: Lease | None = None, **attributes: Any) -> dict[str, Any]:
    """What every event of a job has."""
    queue = {":job/queue": Keyword(":mail")}
    return {"at": AT, "worker": "host:1:aa", "lease": held or lease(), "attributes": queue | attributes}


def raised(error: BaseException) -> BaseException:
    """Return an error that has a traceback, as one that a handler raised."""
    try:
        raise error
    except BaseException as caught:
        return caught


def failed(error: BaseException, *, suppressed: bool = False, aborted: bool = False) -> Failed:
    status, reason = (ABORTED, Reason.ABORT) if aborted else (FAILED, Reason.EXCEPTION)
    return Failed(**about(), seconds=0.5, error=raised(error), status=status, reason=reason, suppressed=suppressed)


def retried(error: BaseException, *, suppressed: bool = False) -> Retried:
    reason = Reason.FAULT if suppressed else Reason.RETRY
    return Retried(**about(), seconds=0.5, error=raised(error), reason=reason, run_at=AT, suppressed=suppressed)


def fatal(error: BaseException) -> Fatal:
    return Fatal(at=AT, worker="host:1:aa", error=raised(error))


def all_kinds() -> list[Any]:
    return [
        Claimed(**about(), db=None),
        Started(**about()),
        Finished(**about(), seconds=0.25),
        failed(ValueError("boom")),
        retried(ValueError("again")),
        Lost(**about()),
        Rescued(**about(), status=UNSTARTED),
        Released(**about()),
        fatal(OSError("disk")),
    ]
